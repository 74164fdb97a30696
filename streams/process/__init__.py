"""The process and its children: processor cores, garbage collection, child processes."""
