"""What goes out: one module per topic builds its contract from what the domains decided."""
