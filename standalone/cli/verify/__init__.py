"""`verify`: every method whose files are here is tried, measured and put on one sheet, for a report to the project."""
