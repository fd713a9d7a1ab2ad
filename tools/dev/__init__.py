"""What dev.py does, on Python's standard library alone: it runs before anything is installed."""
