"""The learner agent: the model that all debtors share, learned from the training log."""
