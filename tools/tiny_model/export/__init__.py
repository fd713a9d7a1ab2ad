"""What was trained, as files in the published formats."""
