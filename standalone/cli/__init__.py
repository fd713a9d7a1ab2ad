"""The commands: `python <pack folder> generate`, `serve`, `models`, `adopt`, `doctor`, `verify`."""
