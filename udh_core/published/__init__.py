"""The published system that this project started from: its data folders, models and rules, read and drawn with."""
