"""InstantID (https://github.com/instantX-research/InstantID)."""
