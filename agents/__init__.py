"""What the system decides: a folder per Faust agent, inside it a folder per domain of pure rules."""
