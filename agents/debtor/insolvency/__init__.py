"""The stage of a debtor's proceeding."""
