"""The debtor agent: what is known of a debtor, and what is decided from it."""
