"""From driving audio to a finished video."""
