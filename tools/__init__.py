"""For developers alone; users need nothing of it."""
