"""Studies and their run folders: the catalogue, the worker processes, the display."""
