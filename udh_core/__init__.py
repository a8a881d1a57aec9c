"""Voice-driven lip-sync of one person: data preparation, SyncNet, generator, rendering. No ComfyUI in here."""
