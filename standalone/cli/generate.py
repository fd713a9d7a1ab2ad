"""`generate`: a photo and a prompt to PNGs and a contact sheet."""

import argparse
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...api.local.flavours import TINY as TINY
from ...contract import FIELDS, OF_THE_ANSWER, FaceGenRequest
from ...errors import (
    BrokenModelPackError,
    BrokenNudeNetError,
    Cures,
    FaceGenError,
    MissingLibraryError,
    MissingNudeNetError,
    NotAnAdapterError,
    TinyFilesError,
    UnreadableFileError,
    UnsupportedCheckpointError,
    WrongBaseModelError,
    WrongClipVisionError,
    WrongRecogniserError,
    advise,
)
from ...models.checkpoint_kind import FLUX1, kind_of
from ...models.published import STARTERS
from ...models.style import style_files
from ...models.tiny_files import require_tiny_files
from .comfyui import comfyui_models
from .common import fetch_command, libraries, say

if TYPE_CHECKING:
    import torch

    from ..engine import Engine
    from ..model_files import ModelFiles

TINY_NOTICE = (
    "Using the built-in tiny model: it was trained on drawings of people who don't exist, so it shows what the pack does and "
    "is not for real portraits. For those, give the folder of real files with --models DIR."
)
TINY_METHOD = "The tiny model knows FaceID alone. Give the folder of real files with --models DIR."
# What the tiny model was trained for, where nothing else is asked.
TINY_DEFAULTS: dict[str, Any] = {"width": 256, "height": 256, "num_inference_steps": 21, "guidance_scale": 2.0}
INSTANTID_DEFAULTS: dict[str, Any] = {"guidance_scale": 5.0}  # more of it burns the picture
FLUX_DEFAULTS: dict[str, Any] = {"guidance_scale": 4.0}  # that PuLID's authors use
FILE_ONLY = "Photo file of the face, clear and visible down to the shoulders."
MODEL_OPTIONS = {
    "checkpoint": "Which checkpoint of the models folder to use.",
    "faceid": "Which FaceID file of the models folder to use.",
    "clip_vision": "Which CLIP vision file of the models folder to use. Default: the one that fits the FaceID file.",
    "face_pack": "Which InsightFace model pack of the models folder to use. Default: buffalo_l, or the only one; for InstantID "
    "and PuLID antelopev2.",
    "instantid": "Which InstantID file of the models folder to use.",
    "controlnet": "Which ControlNet of the models folder to use with InstantID. Default: InstantID's own, by its name.",
    "pulid": "Which PuLID file of the models folder to use. Default: the one that fits the checkpoint.",
    "vision_tower": "Which file in clip_vision holds EVA02-CLIP, through which PuLID looks at the face. Default: the one with "
    "eva in its name.",
    "face_parsing": "Which file in facexlib holds PuLID's face-parsing network. Default: the one with bisenet in its name.",
}
CURES: Cures = {
    MissingLibraryError: "Install it into the Python that runs this:",  # how is among the error's details
    BrokenModelPackError: "Download the pack again.",
    UnreadableFileError: "Download the file again.",
    NotAnAdapterError: "Choose another file with --faceid, --instantid or --pulid.",
    UnsupportedCheckpointError: "Choose another one with --checkpoint.",
    WrongBaseModelError: "Choose other files with --checkpoint, and with --faceid, with --instantid and --controlnet, or with "
    "--pulid.",
    WrongRecogniserError: "Choose that pack with --face-pack; `models download` gets it.",
    WrongClipVisionError: "Choose another file with --clip-vision.",
    MissingNudeNetError: "Run `pip install -U nudenet` with the Python that runs this.",
    BrokenNudeNetError: "Run `pip install --force-reinstall nudenet` with the Python that runs this.",
    TinyFilesError: "It belongs to the pack: install the pack again or, in a git checkout of it, run: "
    "git checkout -- models/tiny",
}
DEMO = {"prompt": "a person, blue background", "seed": 7}


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `generate` to the commands."""
    parser = commands.add_parser("generate", help="photo and prompt to pictures, without ComfyUI")
    add_arguments(parser)
    parser.set_defaults(run=run)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The contract's fields as options, with its names, ranges and defaults."""
    for name, field in FIELDS.items():
        if name in OF_THE_ANSWER:
            continue
        option = f"--{name.replace('_', '-')}"
        names = ["--face", option] if name == "face_image" else [option]
        text = FILE_ONLY if name == "face_image" else field.description
        if field.default not in (None, ""):
            text += f" Default: {field.default}."
        if field.minimum is not None and name != "seed":
            text += f" {field.minimum:g} to {field.maximum:g}."
        kind: dict[str, Any] = {"action": argparse.BooleanOptionalAction} if field.type is bool else {"type": field.type}
        if field.choices:
            kind["choices"] = tuple(style_files()) if name == "style" else field.choices
        default = None if name in TINY_DEFAULTS else field.default  # None: not given
        parser.add_argument(*names, dest=name, default=default, help=text, **kind)
    parser.add_argument("-o", "--out", type=Path, default=Path("out"), help="Folder for the pictures. Default: out.")
    parser.add_argument(
        "--models",
        default=None,
        help="Folder with the model files, laid out like ComfyUI's models folder, "
        "or 'tiny'. Default: that of the ComfyUI that has this pack in its custom_nodes; else tiny.",
    )
    parser.add_argument(
        "--method",
        choices=tuple(STARTERS),
        help="How the face gets into the picture. Default: faceid, or another one where the models folder has only that for "
        "the checkpoint. InstantID needs an SDXL checkpoint, its own adapter and ControlNet, and the model pack antelopev2. "
        "PuLID needs an SDXL checkpoint or FLUX.1 as a diffusers folder, its own file for that, the vision tower EVA02-CLIP, "
        "the face-parsing network, antelopev2, and the Python library timm.",
    )
    for name, text in MODEL_OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="NAME", help=text)
    parser.add_argument(
        "--demo",
        action="store_true",
        help="All styles and, with FaceID, s_scale values, from --face, or from a bundled photo and a drawing of a face.",
    )


@advise("", CURES)
def run(options: argparse.Namespace) -> None:
    """Raises FaceGenError for what the user can fix."""
    given = {name: getattr(options, name) for name in FIELDS if name not in OF_THE_ANSWER}
    own_face = given["face_image"]
    if options.demo:
        given |= {name: value for name, value in DEMO.items() if given[name] is None}
        given["face_image"] = own_face or demo_photo()
    for name, option in (("face_image", "--face FILE"), ("prompt", "--prompt TEXT")):
        if given[name] is None:
            raise FaceGenError(f"{option} is missing: generate needs a photo of the face and a prompt, or --demo.")
    asked = {name for name in TINY_DEFAULTS if given[name] is not None}
    request = FaceGenRequest(**{name: value for name, value in given.items() if name not in TINY_DEFAULTS or name in asked})
    require_file(request.face_image)

    with libraries():
        from ..photos import prepare_folder, read_photo  # torch only after the request is known to be good

    photo = read_photo(request.face_image)
    model_files, tiny = choose_model_files(options)
    if tiny:
        request = replace(request, **{name: value for name, value in TINY_DEFAULTS.items() if name not in asked})
        use_one_thread()
    usual = usual_settings(model_files)
    request = replace(request, **{name: value for name, value in usual.items() if name not in asked})
    say("loading the models; with large files this can take some minutes")
    engine = load_engine(model_files, request.safety_checker)
    with libraries():
        from ..demo import drawn_face, generate_demo, pictures
        from ..portraits import generate_portraits, write_sheet
    if options.demo:
        faces = {"photo": photo} if own_face else {"photo": photo, "drawing": drawn_face()}
        say(announced(pictures(engine) * len(faces), request, options.out))
        generate_demo(engine, request, faces, options.out, told)
        return
    face_embeds, crop = engine.embed(photo, Path(request.face_image).name)
    prepare_folder(options.out)
    say(announced(request.samples, request, options.out))
    portraits = generate_portraits(engine, request, face_embeds, options.out, wrote=told)
    cells = [("photo", photo[0]), ("face", crop[0]), *portraits.cells]
    write_sheet(cells, portraits.files, options.out, wrote=told)


def usual_settings(model_files: "ModelFiles") -> dict[str, Any]:
    """What a method or model was made for, where nothing else is asked."""
    if model_files.instantid:
        return INSTANTID_DEFAULTS
    return FLUX_DEFAULTS if kind_of(model_files.checkpoint).base == FLUX1 else {}


def announced(number: int, request: FaceGenRequest, out: Path) -> str:
    """What is going to be done."""
    pictures = "1 picture" if number == 1 else f"{number} pictures"
    size = f"{request.width}x{request.height} pixels"
    return f"generating {pictures} of {size} in {request.num_inference_steps} steps, into {out.resolve()}"


def told(file: Path) -> None:
    say(f"wrote {file}")


def require_file(face: str) -> None:
    if re.match(r"data:|[a-z][a-z0-9+.-]+://", face, re.IGNORECASE):
        start = face if len(face) <= 40 else f"{face[:40]}…"
        raise FaceGenError(f"The command line takes a photo file, no URL or data URI: {start} Save it and give the file.")


def use_one_thread() -> None:
    """Unless the user says how many: the tiny model's layers are so small that sharing one takes longer than computing it."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def load_engine(model_files: "ModelFiles", checks: bool, device: "torch.device | None" = None) -> "Engine":
    """The engine of these files, on a GPU where there is one, unless a device is given."""
    with libraries():
        import diffusers
        import transformers

        from ..engine import Engine

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()  # our own is enough
    return Engine(model_files, checks, device)


def choose_model_files(options: argparse.Namespace) -> tuple["ModelFiles", bool]:
    """The model files, and whether they are the tiny model's."""
    names = {kind: getattr(options, kind) for kind in (*MODEL_OPTIONS, "method")}
    if options.models is None and (found := default_models(names)):
        return found, False
    if options.models in (None, TINY):
        if options.method not in (None, "faceid"):
            raise FaceGenError(TINY_METHOD)
        say(TINY_NOTICE)
        return find_files(require_tiny_files(), names), True
    say(f"models from {options.models}")
    return find_files(Path(options.models), names), False


def find_files(folder: Path, names: dict[str, str | None]) -> "ModelFiles":
    """find_model_files, whose error about missing files ends with the command that fetches them."""
    with libraries():
        from ..model_files import MissingFiles, find_model_files
    try:
        return find_model_files(folder, **names)
    except MissingFiles as error:
        starter = STARTERS[error.method]
        with advise("", {MissingFiles: f"Get them with: {fetch_command([starter[kind] for kind in error.kinds], folder)}"}):
            raise


def default_models(names: dict[str, str | None]) -> "ModelFiles | None":
    """From the models folder of the ComfyUI that has this pack; None when no models are to be had there.

    Raises FaceGenError when the user named a model, when the folder holds all kinds but leaves a choice, or when several
    ComfyUIs have this pack.
    """
    with libraries():
        from ..model_files import MissingFiles
    typed = [f"--{kind.replace('_', '-')}" for kind, name in names.items() if name]
    folder = comfyui_models()
    if folder is None or not folder.is_dir():
        if typed:
            raise FaceGenError(f"{', '.join(typed)}: say with --models DIR which folder to look in.")
        return None
    try:
        found = find_files(folder, names)
    except MissingFiles as error:
        if typed:
            raise
        say(str(error))
        return None
    say(f"models from {folder}")
    return found


def demo_photo() -> str:
    """NASA's portrait of Eileen Collins (public domain), which scikit-image bundles."""
    with libraries():
        from skimage import data

    return str(Path(data.__file__).parent / "astronaut.png")
