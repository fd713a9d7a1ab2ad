"""The renderer: portraits of invented people, from numbers. What the shipped model knows is in `first`."""
