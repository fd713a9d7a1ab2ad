"""Nodes of other packs that ours stand in for, and saved graphs that hold them. Knows no library beside Python's own."""
