"""Open items, ageing, rolling DSO: what a debtor owes."""
