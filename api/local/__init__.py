"""The Face Generator API, served by us: requests become work of a Backend, and are answered as the hosted service answers."""
