"""Trained networks at work: speech to mouth shapes, crops to pasted frames, SyncNet scores."""
