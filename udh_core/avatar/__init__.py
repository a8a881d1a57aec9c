"""An avatar: one person's prepared clip on disk."""
