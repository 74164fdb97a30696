"""Open items, ageing and sales: what a debtor owes."""
