"""The commands of ``duewatch``, by whom they are for. They import what does the work only when they are called."""
