"""Dead letters: list them, correct and resend them, resume a paused topic."""
