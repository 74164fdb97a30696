"""The worker: the Faust app, its membership in the group, and the command that runs it."""
