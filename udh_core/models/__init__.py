"""The networks. Modules here compute; they read and write no files."""
