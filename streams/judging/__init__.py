"""How good were the scores? What was said of each invoice, what came of it, and what others would have said."""
