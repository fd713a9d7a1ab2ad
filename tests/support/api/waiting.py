"""For what comes about in another thread or process."""

import time


def until(condition, seconds=60):
    """Wait until `condition` is true; it is an error if that takes longer. The longer it takes, the less often it looks: most
    conditions ask a server."""
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        assert waited < seconds
        time.sleep(min(0.01 + waited / 20, 0.2))
