"""Cash-flow signals from a debtor's own account."""
