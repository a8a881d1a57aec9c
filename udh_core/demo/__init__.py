"""The built-in talking person and the whole chain in one go."""
