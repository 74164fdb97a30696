"""The score: the probability of being paid late or not at all, learned online."""
