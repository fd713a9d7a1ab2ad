"""For what comes about in another thread or process."""

import time


def until(condition, seconds=10):
    """Wait until `condition` is true; it is an error if that takes longer."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
