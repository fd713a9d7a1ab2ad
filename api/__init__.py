"""The Face Generator contract."""
