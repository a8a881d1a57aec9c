"""Weight files: what is needed, from where, and how foreign formats are read."""
