"""Speed and memory, measured; nothing here is imported by the product or timed by a test."""
