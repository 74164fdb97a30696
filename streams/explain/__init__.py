"""An explanation: find a decision, make it again, and say why it came out as it did."""
