"""How it runs: a folder per part of the running system, on the ground of settings, errors, logs and metrics."""
