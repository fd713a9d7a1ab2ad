"""`models`: download and list face model packs, convert a FaceID adapter."""

import argparse
import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import FaceGenError
from ...models.face.packs.catalogue import CATALOGUE, CataloguedPack, megabytes
from ...models.face.packs.find import find_packs, open_pack
from .common import comfyui_models, libraries, say
from .file_download import Bar, download

WANTED = (".onnx", ".json", ".license", ".txt", ".md")  # endings of what is unpacked


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `models` to the commands; each of its own commands sets `run`."""
    text = "model files: download and list face model packs, convert a FaceID adapter"
    actions = commands.add_parser("models", help=text).add_subparsers(dest="models_command", required=True)
    add_download_and_list(actions)
    add_convert(actions)


def add_download_and_list(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    folder: dict[str, Any] = {
        "type": Path,
        "default": None,
        "help": "ComfyUI's models folder. Default: the one the pack is installed beside.",
    }
    get = commands.add_parser("download", help="fetch a face model pack, check it and unpack it")
    get.add_argument("name", metavar="NAME", help=f"One of: {', '.join(CATALOGUE)}.")
    get.add_argument("--models", **folder)
    get.set_defaults(run=lambda options: run_download(options.name, models_folder(options.models)))
    show = commands.add_parser("list", help="which face model packs there are, and which are installed")
    show.add_argument("--models", **folder)
    show.set_defaults(run=run_list)


def add_convert(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("convert", help="convert a FaceID .bin to .safetensors")
    parser.add_argument("file", type=Path, metavar="FILE.bin", help="A FaceID adapter as published.")
    parser.add_argument("-o", "--out", type=Path, help="Where to write. Default: beside FILE, ending in .safetensors.")
    parser.add_argument(
        "--plus-v1",
        action="store_true",
        help="FILE is FaceID-Plus v1, but not the published file. Its tensors can't tell it from v2.",
    )
    parser.set_defaults(run=run_convert)


def run_convert(options: argparse.Namespace) -> None:
    with libraries():
        from .convert import convert

    out, variant = convert(options.file, options.out, options.plus_v1)
    say(f"wrote {out} ({variant})")


def models_folder(given: Path | None) -> Path:
    """Raises FaceGenError when there is none to be guessed."""
    if given is not None:
        return given
    folder = comfyui_models()
    if folder is not None and folder.is_dir():
        return folder
    raise FaceGenError("Say with --models DIR where ComfyUI's models folder is: this pack isn't in its custom_nodes.")


def run_list(options: argparse.Namespace) -> None:
    try:
        installed = find_packs([str(models_folder(options.models) / "insightface")])
    except FaceGenError:
        installed = {}
    for pack in CATALOGUE.values():
        sizes = [d.size for d in pack.downloads if d.size]
        size = megabytes(sum(sizes)) if len(sizes) == len(pack.downloads) else "size not published"
        state = "installed, " if pack.name in installed else ""
        print(f"{pack.name}: {state}{size}, {pack.licence}; {pack.note}")
    for name in installed.keys() - CATALOGUE.keys():
        print(f"{name}: installed, {installed[name]}")


def run_download(name: str, models: Path) -> Path:
    """Fetch the pack into models/insightface/models/<name>; gives that folder. Raises FaceGenError."""
    pack = CATALOGUE.get(name)
    if pack is None:
        raise FaceGenError(f"There is no face model pack {name!r} to download. There are: {', '.join(CATALOGUE)}.")
    root = models / "insightface" / "models"
    target = root / name
    if name in find_packs([str(models / "insightface")]):
        print(f"{name} is installed in {target}.")
        return target
    if target.exists() and any(target.iterdir()):
        raise FaceGenError(f"{target} exists, but holds no usable pack. Delete or rename it, and run the command again.")
    print(f"{name}: licence {pack.licence}.")
    waiting = root / f".{name}.download"  # kept after a stop, so that the next run goes on
    try:
        files = [download(wanted, waiting, Bar(wanted.name)) for wanted in pack.downloads]
        _install(pack, files, root, target)
    finally:
        if waiting.is_dir() and not any(waiting.iterdir()):
            waiting.rmdir()
    print(f"{name} is installed in {target}.")
    return target


def _install(pack: CataloguedPack, files: list[Path], root: Path, target: Path) -> None:
    """Unpack beside the target, look whether it is a pack, and only then give it its name."""
    fresh = Path(tempfile.mkdtemp(prefix=f".{pack.name}.", dir=root))
    try:
        for file in files:
            if file.suffix == ".zip":
                _unpack(file, fresh)
            else:
                file.replace(fresh / file.name)
        open_pack(fresh)
        fresh.chmod(0o755)  # mkdtemp's own is for the owner alone
        if target.is_dir():
            target.rmdir()  # empty, as was checked
        fresh.replace(target)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
        raise FaceGenError(f"{pack.name} could not be unpacked: {error}. Run the command again.") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        for file in files:  # done with, or of no use
            file.unlink(missing_ok=True)


def _unpack(archive: Path, folder: Path) -> None:
    """Models, manifest and licence; nothing that would leave the folder."""
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            path = PurePosixPath(member.filename.replace("\\", "/"))
            if member.is_dir() or path.suffix.lower() not in WANTED or "__MACOSX" in path.parts:
                continue
            if path.is_absolute() or ".." in path.parts or ":" in member.filename:
                raise FaceGenError(f"{archive.name} holds a file that would leave its folder: {member.filename}")
            packed.extract(member, folder)
