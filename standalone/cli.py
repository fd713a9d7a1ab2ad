"""`generate`: a photo and a prompt to PNGs and a contact sheet. `models`: see model_files; `doctor`: see there."""

import argparse
import contextlib
import gc
import logging
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..api.contract import FIELDS, STYLES, ContractError, FaceGenRequest
from ..models.errors import FaceGenError
from . import doctor, model_files
from .training import run as train_tiny

ROOT = Path(__file__).resolve().parent.parent
TINY = "tiny"
TINY_NOTICE = (
    "No model weights: using the built-in tiny model. Its weights are random, so it shows the path from photo to picture "
    "and not a likeness. For portraits, give the folder of real files with --models DIR."
)
NOT_OFFERED = {"base64", "webhook", "track_id"}  # these concern the service's answer
FILE_ONLY = "Photo file of the face, clear and visible down to the shoulders."
MODEL_OPTIONS = {
    "checkpoint": "Which checkpoint of the models folder to use.",
    "faceid": "Which FaceID file of the models folder to use.",
    "clip_vision": "Which CLIP vision file of the models folder to use. Default: the one that fits the FaceID file.",
    "face_pack": "Which InsightFace model pack of the models folder to use. Default: buffalo_l, or the only one.",
}
# Small, so that the tiny model draws all styles in about a minute on two cores.
DEMO = {"prompt": "a smiling astronaut", "seed": 7, "width": 256, "height": 256, "num_inference_steps": 21}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The contract's fields as options, with its names, ranges and defaults."""
    for name, field in FIELDS.items():
        if name in NOT_OFFERED:
            continue
        option = f"--{name.replace('_', '-')}"
        names = ["--face", option] if name == "face_image" else [option]
        text = FILE_ONLY if name == "face_image" else field.description
        if field.default not in (None, ""):
            text += f" Default: {field.default}."
        if field.minimum is not None and name != "seed":
            text += f" {field.minimum:g} to {field.maximum:g}."
        kind = {"action": argparse.BooleanOptionalAction} if field.type is bool else {"type": field.type}
        if field.choices:
            kind["choices"] = field.choices
        parser.add_argument(*names, dest=name, default=field.default, help=text, **kind)
    parser.add_argument("-o", "--out", type=Path, default=Path("out"), help="Folder for the pictures. Default: out.")
    parser.add_argument(
        "--models",
        default=None,
        help="Folder with the model files, laid out like ComfyUI's models folder, "
        "or 'tiny'. Default: ComfyUI's own, if the pack lies in its custom_nodes; else tiny.",
    )
    for kind, text in MODEL_OPTIONS.items():
        parser.add_argument(f"--{kind.replace('_', '-')}", metavar="NAME", help=text)
    parser.add_argument("--demo", action="store_true", help="All styles, from a bundled photo if no --face is given.")


def run(options: argparse.Namespace) -> None:
    """Raises FaceGenError or ContractError for what the user can mend."""
    if options.demo and options.face_image is None:
        options.face_image = demo_photo()
    request = FaceGenRequest(**{name: getattr(options, name) for name in FIELDS if name not in NOT_OFFERED})
    requests = [replace(request, style=style) for style in STYLES] if options.demo else [request]
    require_file(request.face_image)

    with libraries():
        from .photos import read_photo  # torch only after the request is known to be good

    photo = read_photo(request.face_image)
    with tempfile.TemporaryDirectory(prefix="facegen-", ignore_cleanup_errors=True) as scratch:
        engine = load_engine(options, Path(scratch))
        files = draw(engine, requests, photo, options.out)
        del engine
        gc.collect()  # Windows removes no file that a model still maps
    for file in files:
        say(f"wrote {file}")


@contextlib.contextmanager
def libraries() -> Iterator[None]:
    """Around imports: raises FaceGenError, with the cure, for a library that isn't there."""
    try:
        yield
    except ImportError as error:
        raise FaceGenError(
            f"The Python library {error.name or 'needed'} can't be imported ({error}). Run `python dev.py demo`, which "
            "installs all, or in the pack's folder: "
            "pip install -r requirements.txt -r requirements-host.txt -r requirements-dev.txt"
        ) from error


def require_file(face: str) -> None:
    if re.match(r"data:|[a-z][a-z0-9+.-]+://", face, re.IGNORECASE):
        start = face if len(face) <= 40 else f"{face[:40]}…"
        raise FaceGenError(f"The command line takes a photo file, no URL or data URI: {start} Save it and give the file.")


def draw(engine, requests: list[FaceGenRequest], photo, out: Path) -> list[Path]:
    from .photos import contact_sheet, prepare_folder, save_png

    embeds, crop = engine.embed(photo)
    prepare_folder(out)
    files, cells = [], [("photo", photo[0]), ("face", crop[0])]
    for request in requests:
        began = time.perf_counter()
        result = engine.generate(request, embeds, progress=request.style)
        seconds = time.perf_counter() - began
        parameters = {
            **{k: v for k, v in result.request.as_dict().items() if k not in NOT_OFFERED},
            "face_image": Path(request.face_image).name,
            "faceid": result.faceid,
            "seconds": round(seconds, 2),
        }
        for number, picture in enumerate(result.images):
            path = out / f"{request.style}_{result.request.seed}_{number}.png"
            save_png(picture, path, {**parameters, "sample": number, "flagged": result.flagged[number]})
            files.append(path)
            cells.append((request.style + (" (redacted)" if result.flagged[number] else ""), picture))
    sheet = out / "contact_sheet.png"
    save_png(contact_sheet(cells, columns=7), sheet, {"pictures": [file.name for file in files]})
    return [*files, sheet]


def load_engine(options: argparse.Namespace, scratch: Path):
    """The engine on the wanted models folder; the tiny model is written to `scratch` and loaded like any other."""
    with libraries():
        import diffusers
        import peft  # noqa: F401 - diffusers asks for it only while drawing
        import transformers

        from .engine import Engine

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()  # our own is enough
    return Engine(choose_weights(options, scratch))


def choose_weights(options: argparse.Namespace, scratch: Path):
    from .weights import find_weights

    names = {kind: getattr(options, kind) for kind in MODEL_OPTIONS}
    if options.models is None and (weights := default_models(names)):
        return weights
    if options.models in (None, TINY):
        with libraries():
            import onnx  # noqa: F401 - build_tiny asks for it last

            from .tiny import build_tiny

        say(TINY_NOTICE)
        build_tiny(scratch)
        return find_weights(scratch, **names)
    say(f"models from {options.models}")
    return find_weights(Path(options.models), **names)


def default_models(names: dict[str, str | None]):
    """From ComfyUI's models folder, when the pack lies in its custom_nodes; None when no models are to be had there.

    Raises FaceGenError when the user named a model, or when the folder holds all kinds but leaves a choice.
    """
    from .weights import MissingFiles, find_weights

    typed = [f"--{kind.replace('_', '-')}" for kind, name in names.items() if name]
    folder = ROOT.parent.parent / "models"
    if ROOT.parent.name != "custom_nodes" or not folder.is_dir():
        if typed:
            raise FaceGenError(f"{', '.join(typed)}: say with --models DIR which folder to look in.")
        return None
    try:
        weights = find_weights(folder, **names)
    except MissingFiles as error:
        if typed:
            raise
        say(str(error))
        return None
    say(f"models from {folder}")
    return weights


def demo_photo() -> str:
    """NASA's portrait of Eileen Collins (public domain), which scikit-image bundles."""
    with libraries():
        from skimage import data

    return str(Path(data.__file__).parent / "astronaut.png")


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def add_convert(commands) -> None:
    """Add `convert` to the sub-commands of `models`."""
    parser = commands.add_parser("convert", help="a FaceID .bin to its .safetensors twin")
    parser.add_argument("file", type=Path, metavar="FILE.bin", help="A FaceID adapter as published.")
    parser.add_argument("-o", "--out", type=Path, help="Where to write. Default: beside FILE, ending in .safetensors.")
    parser.add_argument(
        "--plus-v1",
        action="store_true",
        help="FILE is FaceID-Plus v1 in another form than the published one. Nothing in its tensors tells it from v2.",
    )
    parser.set_defaults(run=run_convert)


def run_convert(options: argparse.Namespace) -> None:
    with libraries():
        from .convert import convert

    out, variant = convert(options.file, options.out, options.plus_v1)
    say(f"wrote {out} ({variant})")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="facegen", description="Portraits of a person from one face photo.")
    commands = parser.add_subparsers(dest="command", required=True)
    generate = commands.add_parser("generate", help="photo and prompt to pictures, without ComfyUI")
    add_arguments(generate)
    generate.set_defaults(run=run)
    models = commands.add_parser("models", help="model files: download and list face model packs, convert a FaceID adapter")
    actions = models.add_subparsers(dest="models_command", required=True)
    model_files.add_commands(actions)
    add_convert(actions)
    doctor.add_command(commands)
    train_tiny.add_command(commands)
    if getattr(parser.parse_args(arguments), "demo", False):
        generate.set_defaults(**DEMO)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    warnings.simplefilter("ignore", FutureWarning)  # of libraries, about each other
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}
    try:
        options.run(options)
    except (FaceGenError, ContractError) as error:
        say(f"facegen: {error}")
        return 2
    except KeyboardInterrupt:
        say("facegen: stopped")
        return 130
    return 0
