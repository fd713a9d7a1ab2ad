"""How much memory a call takes at its peak."""

import gc
from pathlib import Path

import pytest

RESET, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def peak_of(call):
    """Bytes that the process holds at the peak of `call()` beyond what it holds before; skips the test where none can tell."""
    if not RESET.exists():
        pytest.skip("Only Linux tells a process's peak anew.")
    gc.collect()
    RESET.write_text("5")  # of the peak: https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html
    before = _kilobytes("VmRSS")
    kept = call()
    peak = _kilobytes("VmHWM")
    del kept
    return (peak - before) << 10


def _kilobytes(name):
    return int(next(line.split()[1] for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:")))
