"""One Markdown table of all that `measure.sh` found: python tools/gpu/table.py FIGURES [TESTS_XML]"""

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

NAMES = {"sd15": "SD1.5", "sdxl": "SDXL", "flux": "FLUX.1"}
OVERHEAD = ("network", "way", "ms a step", "ratio", "operations", "syncs", "MB held", "GB more", "applied in")


def row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def head(*cells: str) -> list[str]:
    return ["", row(*cells), f"|{'---|' * len(cells)}"]


def overhead(lines: list[dict[str, Any]]) -> list[str]:
    made = head(*OVERHEAD) if lines else []
    for line in lines:
        network = f"{NAMES[line['base']]}, {line['channels']} wide, {8 * line['size']}², {line['precision']}"
        network += f", batch {line['batch']}{_compiled(line)}"
        plain = line["rows"]["plain"]
        for name, way in line["rows"].items():
            extra = [_difference(way[key], plain[key], name == "plain") for key in ("operations", "syncs")]
            peak = "" if way["peak"] is None else f"{way['peak'] / 1e9:.2f}"
            took = "" if way["applied"] is None else f"{way['applied']:.2f} s"
            shown = "plain, with the ControlNet" if name == "plain" and line["method"] == "instantid" else name
            speed = (f"{1000 * way['seconds']:.1f}", f"{way['ratio']:.3f}")
            made.append(row(network, shown, *speed, *extra, f"{way['held'] / 1e6:.2f}", peak, took))
    return made


def _compiled(line: dict[str, Any]) -> str:
    return f", compiled by {line['compile']}" if line["compile"] else ""


def _difference(own: int | None, plain: int | None, is_plain: bool) -> str:
    if own is None or plain is None:
        return ""
    return str(own) if is_plain else f"{own - plain:+d}"


def growth(lines: list[dict[str, Any]]) -> list[str]:
    made = head("memory in tensors", "MB after 1 run", "MB after 20 runs") if lines else []
    for line in lines:
        name, way = next((name, way) for name, way in line["rows"].items() if "grown" in way)
        made.append(row(f"{name}, {NAMES[line['base']]}{_compiled(line)}", *(f"{taken / 1e6:.3f}" for taken in way["grown"])))
    return made


def exactness(lines: list[dict[str, Any]]) -> list[str]:
    made = head("error of FaceID against float32", "ours", "diffusers'") if lines else []
    for line in lines:
        for precision, errors in line["errors"].items():
            theirs = "" if errors["diffusers"] is None else f"{errors['diffusers']:.1e}"
            network = f"{NAMES[line['base']]}, {line['channels']} wide, {8 * line['size']}²"
            made.append(row(f"{network}, {precision}", f"{errors['ours']:.1e}", theirs))
    return made


def safety(lines: list[dict[str, Any]]) -> list[str]:
    made = head("safety checker", "batch", "ours, pictures/s", "library, pictures/s", "ratio") if lines else []
    for line in lines:
        name = line["checker"] + (", two layers" if line["small"] else "")
        made.append(row(name, line["batch"], f"{line['ours']:.1f}", f"{line['library']:.1f}", f"{line['ratio']:.2f}"))
    return made


def embedding(lines: list[dict[str, Any]]) -> list[str]:
    made = head("embedding a photo", "ms", "ratio to `app.get`") if lines else []
    for line in lines:
        if "skipped" in line:
            made.append(row(f"skipped: {line['skipped']}", "", ""))
        for name, took in line.get("rows", {}).items():
            way = f"{name}, {line['size']}×{line['size']}, {line['provider']}"
            made.append(row(way, f"{took['ms']:.1f}", f"{took['ratio']:.2f}"))
    return made


def together(lines: list[dict[str, Any]]) -> list[str]:
    made = head("requests sampled together", "at once", "pictures a minute", "ratio", "GB", "differ by") if lines else []
    for line in lines:
        network = (
            f"SD1.5, {line['channels']} wide, {line['width']}×{line['height']}, {line['steps']} steps, {line['precision']}"
        )
        for number, way in line["rows"].items():
            most, differ = (
                "" if way[key] is None else f"{way[key]:{form}}" for key, form in (("gb", ".2f"), ("differ", ".1e"))
            )
            made.append(row(network, number, f"{way['per_minute']:.1f}", f"{way['ratio']:.2f}", most, differ))
        one = line["rates"]["one"]["per_minute"]
        for name, way in line["rates"].items():
            rate = way["per_minute"]
            made.append(row(f"waiting in the queue of serve, {network}", name, f"{rate:.1f}", f"{rate / one:.2f}", "", ""))
    return made


def tests(file: Path) -> list[str]:
    """How many of the tests that want a GPU passed, and why the others didn't."""
    if not file.exists():
        return []
    cases = list(ElementTree.parse(file).iter("testcase"))
    ended: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": []}
    for case in cases:
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        problem = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        if problem is None:
            ended["passed"].append(name)
        else:
            kind = "skipped" if problem.tag == "skipped" else "failed"
            ended[kind].append(f"{name} ({problem.get('message', '')[:120]})".replace("\n", " ").replace("|", "/"))
    made = head("tests in ComfyUI", "number", "which")
    made.append(row("passed", len(ended["passed"]), ""))
    return [*made, *(row(kind, len(ended[kind]), "; ".join(ended[kind])) for kind in ("failed", "skipped"))]


def main() -> None:
    figures = Path(sys.argv[1])
    lines = [json.loads(line) for line in figures.read_text().splitlines()]
    parts: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        parts.setdefault(line["part"], []).append(line)
    by = next((f"{line['card']}, torch {line['torch']}, Python {line['python']}" for line in lines if "card" in line), "")
    made = [f"Measured on {by}:"]
    for name, show in (("overhead", overhead), ("overhead", growth), ("exactness", exactness), ("safety", safety)):
        made += show(parts.get(name, []))
    made += embedding(parts.get("embedding", [])) + together(parts.get("together", []))
    made += tests(Path(sys.argv[2])) if len(sys.argv) > 2 else []
    bad = [f"{line['name']} (exit status {line['rc']}, {line['took']} s)" for line in parts.get("ended", []) if line["rc"]]
    made += ["", f"Parts that did not end well: {', '.join(bad) or 'none'}."]
    sys.stdout.write("\n".join(made) + "\n")


if __name__ == "__main__":
    main()
