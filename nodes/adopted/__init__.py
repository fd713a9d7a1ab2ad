"""Nodes that stand in for other packs': the same inputs and outputs, onto our engine. Which there are is in `adoption`."""
