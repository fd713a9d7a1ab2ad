"""Our requirements beside those of the node packs that most people have: one environment takes both."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pack import ROOT

PACKS = json.loads((Path(__file__).parents[1] / "data" / "packs_requirements.json").read_text(encoding="utf-8"))["packs"]
OURS = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()


def resolve(lines):
    """uv's answer to these lines, from the packages' metadata alone: nothing is installed. (exit code, what it says)"""
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        "-q",
        "-",
        "--python",
        sys.executable,
        "--no-header",
        "--no-build",
        "--no-config",
    ]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, timeout=600)
    return done.returncode, done.stdout + done.stderr


def test_twenty_packs():
    assert len(PACKS) == 20


@pytest.mark.network
def test_each_of_them_installs_beside_ours():
    with ThreadPoolExecutor(4) as pool:
        answers = dict(zip(PACKS, pool.map(resolve, [[*lines, *OURS] for lines in PACKS.values()]), strict=True))
    assert {pack: said for pack, (code, said) in answers.items() if code} == {}
    code, said = resolve(["numpy<2", "numpy>=2"])
    assert code and "numpy" in said
