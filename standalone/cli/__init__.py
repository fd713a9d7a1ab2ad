"""The commands: `python <pack folder> generate`, `models`, `doctor`."""
