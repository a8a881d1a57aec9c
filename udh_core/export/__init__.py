"""A trained person for other programs, or as one file."""
