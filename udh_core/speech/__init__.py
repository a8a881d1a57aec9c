"""From a waveform to audio features; voice activity, augmentation, text to speech."""
