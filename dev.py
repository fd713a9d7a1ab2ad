#!/usr/bin/env python3
"""Set everything up on a fresh machine, then run the demo or the tests. Needs Python 3.10 or later and nothing else.

    python3 dev.py demo      portraits from the bundled photo, into out/demo
    python3 dev.py test      lint, types, the pack's own tests, and its tests inside the oldest and the newest ComfyUI
                             found; with --scale, the tests of several fronts and machines instead
    python3 dev.py comfyui   ComfyUI with this pack in it, at the portrait template
    python3 dev.py train-tiny   train the built-in tiny model anew (hours)

Every package goes into a virtual environment beside this file; a ComfyUI that is found is only read.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools.dev import start, suites
from tools.dev.common import ROOT, DevError, environment, say
from tools.dev.environments import pack_venv
from tools.dev.hosts import comfyui_version, find_comfyui, has_pack

OLDEST_PYTHON = (3, 10)


def demo(options: list[str]) -> int:
    comfyuis = find_comfyui()
    pictures = ROOT / "out" / "demo"
    # Runs where the user is, so that a --face or -o of theirs means what they typed; theirs, coming last, win over ours.
    command: list[str | Path] = [pack_venv(), ROOT, "generate", "--demo", "--models", "tiny", "-o", pictures]
    code = subprocess.run([*command, *options], env=environment()).returncode
    if code:
        return code
    if not any(option.startswith(("-o", "--out")) for option in options):
        say(f"the pictures are in {pictures}")
    for comfyui in comfyuis:
        state = "has this pack" if has_pack(comfyui) else "lacks this pack: link this folder into its custom_nodes"
        say(f"the demo ran without ComfyUI; ComfyUI {comfyui_version(comfyui)} in {comfyui} {state}")
    return 0


def train_tiny(options: list[str]) -> int:
    return subprocess.run([pack_venv(), ROOT / "tools" / "tiny_model", *options], env=environment()).returncode


def main() -> int:
    if sys.version_info[:2] < OLDEST_PYTHON:
        wanted, found = (".".join(map(str, version)) for version in (OLDEST_PYTHON, sys.version_info[:3]))
        print(f"dev.py: this is Python {found}; run it with Python {wanted} or later.", file=sys.stderr)
        return 1
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    more: dict[str, Any] = {"allow_abbrev": False, "epilog": "Further options are passed on."}
    commands.add_parser("demo", help="make the demo's pictures; takes the options of generate, too", **more)
    tests = commands.add_parser("test", help="run lint, types and all tests; takes pytest's options, too", **more)
    which = tests.add_mutually_exclusive_group()
    which.add_argument("--no-host", action="store_true", help="leave out the tests inside ComfyUI")
    which.add_argument("--host-only", action="store_true", help="run nothing but the tests inside ComfyUI")
    which.add_argument("--scale", action="store_true", help="run nothing but the tests of several fronts and machines")
    tests.add_argument("--all-hosts", action="store_true", help="run them inside every ComfyUI found, also those between")
    commands.add_parser("train-tiny", help="train the built-in tiny model; takes the training's options", **more)
    start_it = commands.add_parser("comfyui", help="start ComfyUI with this pack; takes ComfyUI's options, too", **more)
    start_it.add_argument("--port", type=int, help="ComfyUI's port. Default: 8188, or a free one.")
    start_it.add_argument("--no-browser", action="store_true", help="print the address, but don't open a browser")
    chosen, options = parser.parse_known_args()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # what the tests print may not fit the console's encoding
    try:
        if chosen.command == "demo":
            return demo(options)
        if chosen.command == "train-tiny":
            return train_tiny(options)
        if chosen.command == "comfyui":
            return start.comfyui(options, chosen.port, browser=not chosen.no_browser)
        if chosen.scale:
            return suites.test_scale(options)
        return suites.test(options, pack=not chosen.host_only, host=not chosen.no_host, all_hosts=chosen.all_hosts)
    except DevError as error:
        print(f"dev.py: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("dev.py: stopped", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
