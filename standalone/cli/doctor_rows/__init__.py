"""What `doctor` looks at, a row of its table for each: files, methods, the local API."""
