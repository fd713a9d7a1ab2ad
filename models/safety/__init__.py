"""Safety checkers, and what is shown in place of an unsafe picture."""
