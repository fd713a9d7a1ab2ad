"""`adopt`: a saved graph with other packs' identity nodes becomes one with nodes of this pack."""

import argparse
import json
from pathlib import Path
from typing import Any

from ...adoption.adopt import adopt_graph
from ...adoption.packs.ip_adapter import BASES
from ...atomic_write import USUAL, atomic_write
from ...errors import FaceGenError
from .common import say


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `adopt` to the commands."""
    parser = commands.add_parser(
        "adopt",
        help="let a saved graph run without the pack it was made with",
        description="Rewrites a graph that was made with the FaceID, InstantID or PuLID nodes of another pack, so that it runs "
        "with this one. Everything else in the file stays as it is. Newer ComfyUIs offer the same when you open the graph.",
    )
    parser.add_argument("file", type=Path, metavar="WORKFLOW.json", help="As saved by ComfyUI, or exported in API format.")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="NEW.json", help="Where to write. Must not exist yet.")
    parser.add_argument(
        "--native",
        action="store_true",
        help="Make each old node into the nodes of a new graph, such as Embed Face and Apply FaceID, in place of one that "
        "looks like it.",
    )
    parser.add_argument(
        "--base",
        choices=BASES,
        help="With --native: which FaceID file a preset means. Default: as the checkpoint's name in the graph says.",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Raises FaceGenError when the file is no graph or holds nothing to adopt, or when there is a file at --out."""
    if options.out.exists():
        raise FaceGenError(f"{options.out} is there already. Delete it first, or give another name with --out.")
    data, indent = _read(options.file)
    adopted = adopt_graph(data, options.native, options.base)
    for line in (*adopted.done, *adopted.left, *adopted.notes):
        say(line)
    if not adopted.done:
        raise FaceGenError(f"There is nothing to adopt in {options.file}, so nothing was written.")
    text = json.dumps(data, ensure_ascii=False, indent=indent)
    try:
        atomic_write(options.out, text.encode("utf-8", "surrogatepass"), USUAL)
    except OSError as error:
        raise FaceGenError(f"Can't write {options.out}: {error}. Give another place with --out.") from error
    say(f"wrote {options.out}")


def _read(path: Path) -> tuple[Any, int | None]:
    """The parsed file, and by how much its lines are indented."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text), 2 if "\n" in text.strip() else None
    except (OSError, ValueError, RecursionError) as error:
        raise FaceGenError(
            f"{path} can't be read as a graph: {error}. It has to be the .json file that ComfyUI saves."
        ) from error
