"""What comes in: facts in the past tense, one file per topic."""
