"""For what comes about in another thread or process."""

import time


def until(condition, seconds=10, every=0.01):
    """Wait until `condition` is true, and ask so often; it is an error if that takes longer."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(every)
