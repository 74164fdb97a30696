"""The command line: commands by their users. Heavy imports happen only when a command is called."""
