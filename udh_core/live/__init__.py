"""A local page on which the person talks: what is typed, uploaded, or spoken into a microphone."""
