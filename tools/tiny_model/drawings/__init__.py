"""The renderer: portraits of invented people, from numbers."""
