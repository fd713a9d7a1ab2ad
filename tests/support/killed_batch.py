"""A batch in a process of its own, which is killed in the middle, again and again, and begun anew."""

import random
import subprocess
import sys
import time

from pack import LOAD, ROOT
from waiting import until

# The arguments: the requests, the folder, and the seconds that the engine takes for a picture.
PROGRAM = f"""{LOAD}
import sys, time
from pathlib import Path
sys.path.append({str(ROOT / "tests" / "support")!r})
from batch_runs import run
from sleeping_engine import load_quick
engine = load_quick(None)
engine.fails = lambda request: time.sleep(float(sys.argv[3]))
run(Path(sys.argv[1]), Path(sys.argv[2]), engine)
"""


def killed_runs(file, out, at, seconds):
    """The batch of `file` in `out`, in as many processes as it takes: each is killed soon after there are as many pictures as
    `at` says, and the last one ends."""
    command = [sys.executable, "-c", PROGRAM, *map(str, (file, out, seconds))]

    def start():
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    for several in at:
        process = start()
        until(lambda n=several: sum(1 for _ in (out / "pictures").glob("[!.]*.png")) >= n, 300)
        time.sleep(random.random() / 20)
        assert process.poll() is None, "it was killed in the middle"
        process.kill()
        process.wait()
    assert start().wait(300) == 0
