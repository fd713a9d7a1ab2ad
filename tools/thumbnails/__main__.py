#!/usr/bin/env python3
"""Draw the templates' thumbnails, workflows/NAME.jpg, from what their graphs give with the pack's tiny model.

    COMFYUI_PATH=… .venv-host-<version>/bin/python tools/thumbnails [NAME …]

Copies of them on help pages, web/docs/NODE/NAME.jpg, are brought up to date.

Runs every template on a ComfyUI server of its own. The people on the photos are drawn, too, with skia; --python names
another Python for that where this one lacks it. The hosted service is never asked; a silhouette stands for its pictures.
"""

from __future__ import annotations

import argparse
import json
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / "workflows"
SEED = 30_000
# Who is on which photo, and how: the person's number, then the view.
PHOTOS = {
    "face": (36, {"background": "grey"}),
    "face_2": (36, {"yaw": -0.6, "light": 0.6, "background": "teal"}),
    "face_3": (36, {"yaw": 0.6, "mouth_open": 0.5, "background": "orange"}),
    "person_left": (50, {"background": "grey"}),
    "person_right": (36, {"background": "yellow"}),
}


def draw_photos(folder: Path) -> None:
    """The photos that the templates ask for. Runs where skia is."""
    import numpy as np
    from PIL import Image

    runpy.run_path(str(ROOT / "__main__.py"))["load_pack"]()
    from facegen.tools.tiny_model.drawings.drawing import draw
    from facegen.tools.tiny_model.drawings.person import BACKGROUNDS, Person, View

    for name, (number, view) in PHOTOS.items():
        person = Person.random(np.random.default_rng([SEED, number]))
        seen = View(**view, background_rgb=BACKGROUNDS[view["background"]])
        Image.fromarray(draw(person, seen, "realistic")[0]).save(folder / f"{name}.jpg", quality=97, subsampling=0)


def make_thumbnails(names: list[str], base: Path, out: Path) -> list[str]:
    """Each thumbnail into `out`; returns the names of those that failed."""
    from graphs import ComfyServer, Host
    from templates import TEMPLATES, hosted_double

    failed = []
    with hosted_double(base), ComfyServer(base) as server:
        for name in names:
            began = time.monotonic()
            try:
                TEMPLATES[name].draw(name, Host(server)).save(out / f"{name}.jpg")
                print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
            except (RuntimeError, OSError, ValueError, KeyError) as error:
                print(f"{name}: {error}", file=sys.stderr, flush=True)
                failed.append(name)
    return failed


def make_base(base: Path, python: str) -> None:
    """A ComfyUI base folder with the pack and the photos in it, and no models."""
    for name in ("models", "input", "output", "temp", "user/facegen", "custom_nodes"):
        (base / name).mkdir(parents=True)
    (base / "custom_nodes" / "facegen").symlink_to(ROOT, target_is_directory=True)
    subprocess.run([python, __file__, "--photos", base / "input"], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="templates; all if none is named")
    parser.add_argument("--out", type=Path, default=WORKFLOWS, help="folder of the thumbnails. Default: workflows")
    parser.add_argument("--python", default=sys.executable, help="a Python with skia. Default: this one")
    parser.add_argument("--photos", type=Path, help=argparse.SUPPRESS)  # draw these alone
    chosen = parser.parse_args()
    if chosen.photos:
        draw_photos(chosen.photos)
        return 0
    names = chosen.names or sorted(json_file.stem for json_file in WORKFLOWS.glob("*.json"))
    chosen.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        make_base(Path(folder), chosen.python)
        failed = make_thumbnails(names, Path(folder), chosen.out)
    for copy in (ROOT / "web" / "docs").glob("*/*.jpg") if chosen.out == WORKFLOWS else ():
        shutil.copyfile(WORKFLOWS / copy.name, copy)
    if failed:
        print(f"not drawn: {json.dumps(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
