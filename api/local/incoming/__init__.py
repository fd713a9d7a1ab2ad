"""What comes with a request: its body, the size that it asks for, its photo."""
