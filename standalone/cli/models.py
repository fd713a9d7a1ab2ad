"""`models`: download and list the published model files, convert an adapter."""

import argparse
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from ...errors import FaceGenError
from ...models.face.packs.catalogue import CATALOGUE, CataloguedPack
from ...models.face.packs.find import find_packs, open_pack
from ...models.published import (
    PUBLISHED,
    STARTER,
    STARTER_OF_INSTANTID,
    STARTER_OF_PULID,
    Download,
    PublishedFile,
    find_published,
    megabytes,
)
from .comfyui import comfyui_models
from .common import libraries, say
from .file_download import Bar, download, is_right, made_folder

WANTED = (".onnx", ".json", ".license", ".txt", ".md")  # endings of what is unpacked


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `models` to the commands; each of its own commands sets `run`."""
    text = "model files: download and list the published ones, convert an adapter"
    actions = commands.add_parser("models", help=text).add_subparsers(dest="models_command", required=True)
    add_download_and_list(actions)
    add_convert(actions)


def add_download_and_list(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    folder: dict[str, Any] = {
        "type": Path,
        "default": None,
        "help": "ComfyUI's models folder. Default: that of the ComfyUI that has this pack in its custom_nodes.",
    }
    get = commands.add_parser("download", help="fetch model files into their folders, and check them")
    get.add_argument(
        "names",
        metavar="NAME",
        nargs="+",
        help=f"Adapter, ControlNet, vision model, checkpoint: {', '.join(PUBLISHED)}. Face model pack: {', '.join(CATALOGUE)}. "
        f"For a first portrait: {' '.join(STARTER.values())}; with InstantID: {' '.join(STARTER_OF_INSTANTID.values())}; with "
        f"PuLID: {' '.join(STARTER_OF_PULID.values())}.",
    )
    get.add_argument("--models", **folder)
    get.set_defaults(run=run_download)
    show = commands.add_parser("list", help="which model files can be downloaded, and which are there")
    show.add_argument("--models", **folder)
    show.set_defaults(run=run_list)


def add_convert(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("convert", help="convert a FaceID or InstantID .bin to .safetensors")
    parser.add_argument("file", type=Path, metavar="FILE.bin", help="A FaceID or InstantID adapter as published.")
    parser.add_argument("-o", "--out", type=Path, help="Where to write. Default: beside FILE, ending in .safetensors.")
    parser.add_argument(
        "--plus-v1",
        action="store_true",
        help="FILE is FaceID-Plus v1, but not the published file. Its tensors can't tell it from v2.",
    )
    parser.add_argument(
        "--instantid",
        action="store_true",
        help="FILE is InstantID, but not the published file. Its tensors can't tell it from FaceID's portrait-unnorm.",
    )
    parser.set_defaults(run=run_convert)


def run_convert(options: argparse.Namespace) -> None:
    with libraries():
        from .convert import convert

    out, variant = convert(options.file, options.out, options.plus_v1, options.instantid)
    say(f"wrote {out} ({variant})")


def models_folder(given: Path | None) -> Path:
    """Raises FaceGenError when there is none to be guessed."""
    folder = comfyui_models() if given is None else given
    if folder is None:
        raise FaceGenError("Say with --models DIR where ComfyUI's models folder is: no ComfyUI with this pack was found.")
    if given is None and not folder.is_dir():
        raise FaceGenError(f"Say with --models DIR where ComfyUI's models folder is: there is none at {folder}.")
    return folder


def run_list(options: argparse.Namespace) -> None:
    folder = comfyui_models() if options.models is None else options.models
    installed = find_packs([str(folder / "insightface")]) if folder else {}
    for file in PUBLISHED.values():
        print(_line(file, bool(folder and (folder / file.folder / file.file).is_file()), [file.download]))
    for pack in CATALOGUE.values():
        print(_line(pack, pack.name in installed, pack.downloads))
    for name in installed.keys() - CATALOGUE.keys():
        print(f"{name}: installed, {installed[name]}")


def _line(one: PublishedFile | CataloguedPack, is_there: bool, downloads: Sequence[Download]) -> str:
    sizes = [wanted.size for wanted in downloads if wanted.size is not None]
    size = megabytes(sum(sizes)) if len(sizes) == len(downloads) else "size not published"
    return f"{one.name}: {'installed, ' if is_there else ''}{size}, {one.licence}; {one.note}"


def run_download(options: argparse.Namespace) -> None:
    """Fetch what is named, one after the other; what is there already is left as it is. Raises FaceGenError, for a name that
    isn't known before anything is fetched."""
    wanted = [CATALOGUE.get(name) or find_published(name) or _unknown(name) for name in options.names]
    folder = models_folder(options.models)
    for one in wanted:
        if isinstance(one, CataloguedPack):
            fetch_pack(one, folder)
        else:
            fetch_file(one, folder)


def _unknown(name: str) -> NoReturn:
    raise FaceGenError(
        f"There is no model {name!r} to download. There are the files {', '.join(PUBLISHED)}, and the face model packs "
        f"{', '.join(CATALOGUE)}."
    )


def fetch_file(file: PublishedFile, models: Path) -> Path:
    """Fetch a published file into its folder; gives its path. Raises FaceGenError, and never writes over another file."""
    target = models / file.folder / file.file
    if not target.is_file():
        print(f"{file.name}: {file.note}. Licence: {file.licence}.")
        download(file.download, target.parent, Bar(file.file))
    elif not is_right(target, file.download):
        raise FaceGenError(f"{target} exists, but isn't the published file. Delete or rename it, and run the command again.")
    print(f"{file.name} is in {target}.")
    return target


def fetch_pack(pack: CataloguedPack, models: Path) -> Path:
    """Fetch a face model pack into models/insightface/models/<name>; gives that folder. Raises FaceGenError."""
    root = models / "insightface" / "models"
    target = root / pack.name
    if pack.name in find_packs([str(models / "insightface")]):
        print(f"{pack.name} is installed in {target}.")
        return target
    if target.exists() and any(target.iterdir()):
        raise FaceGenError(f"{target} exists, but holds no usable pack. Delete or rename it, and run the command again.")
    print(f"{pack.name}: {pack.note}. Licence: {pack.licence}.")
    waiting = root / f".{pack.name}.download"  # kept after a stop, so that the next run goes on
    with made_folder(root):
        try:
            files = [download(wanted, waiting, Bar(wanted.name)) for wanted in pack.downloads]
            _install(pack, files, root, target)
        finally:
            if waiting.is_dir() and not any(waiting.iterdir()):
                waiting.rmdir()
    print(f"{pack.name} is installed in {target}.")
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
