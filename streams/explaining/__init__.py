"""The parts of an explanation: find the decision, make it again, tell why it came out so."""
