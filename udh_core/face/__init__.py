"""Faces in frames: landmarks, the aligned crop, the mouth and the head's pose."""
