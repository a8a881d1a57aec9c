"""ComfyUI as the nodes see it: only the files of this folder use its program; the nodes use its node API alone."""
