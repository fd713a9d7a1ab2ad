"""The doctor's look at files: where models may be, which are there and fit each other, folders, settings."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ....errors import FaceGenError
from ....models.face.packs.catalogue import CATALOGUE
from ....models.face.packs.find import find_packs
from ....models.published import FACEID_SDXL, STARTER
from ....models.safetensors_header import clip_width, shapes
from ..comfyui import comfyui_models
from ..common import fetch_command

OK, NOTE, MISSING, BROKEN = "ok", "note", "missing", "BROKEN"
KINDS = (
    "checkpoints",
    "ipadapter",
    "clip_vision",
    "insightface",
    "safety_checker",
    "instantid",
    "controlnet",
    "pulid",
    "facexlib",
)
VIT_H = 1280  # width of CLIP-ViT-H-14, which FaceID-Plus reads
FIT_FOR_FACEID = [name for name in ("buffalo_l", "buffalo_m", "raccoon_l") if name in CATALOGUE]


class Row(NamedTuple):
    """One line of the table; `cure` says what to do, `fetch` is the published file that is missing."""

    state: str
    what: str
    found: str
    cure: str = ""
    fetch: str = ""


@dataclass
class ModelFolders:
    """Kind of model -> folders; `models` and `comfyui` are None where they are not known."""

    models: Path | None
    comfyui: Path | None
    folders: dict[str, list[Path]] = field(default_factory=dict)
    trouble: str = ""

    @classmethod
    def find(cls, given: Path | None) -> "ModelFolders":
        """`given`, or that of the ComfyUI that has this pack; and what extra_model_paths.yaml adds. Raises FaceGenError when
        several have it."""
        models = comfyui_models() if given is None else given
        if models is None:
            return cls(None, None)
        comfyui = models.absolute().parent
        found = cls(models, comfyui, {kind: [models / kind] for kind in KINDS})
        found._add_extra(comfyui / "extra_model_paths.yaml")
        return found

    def _add_extra(self, file: Path) -> None:
        if not file.is_file():
            return
        try:
            import yaml

            sections = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
            for section in sections.values():
                for kind in KINDS:
                    for line in str((section or {}).get(kind) or "").splitlines():
                        base = Path(os.path.expandvars(os.path.expanduser(str(section.get("base_path") or ""))))
                        self.folders[kind].append(file.parent / base / line.strip())
        except ImportError:
            self.trouble = "not read: PyYAML is not installed"
        except (yaml.YAMLError, UnicodeError, OSError, AttributeError) as error:
            self.trouble = f"not read: {str(error).splitlines()[0]}"

    def files(self, kind: str, *endings: str) -> list[Path]:
        found = []
        for folder in self.folders.get(kind, []):
            for root, _, names in os.walk(folder, followlinks=True):
                found += [Path(root, name) for name in sorted(names) if name.lower().endswith(endings)]
        return found

    def missing(self, what: str, found: str, kind: str, also: str = "") -> Row:
        """The row about a kind of file that isn't there: the command that fetches one, and what else would do."""
        name = STARTER[kind]
        command = fetch_command([name], self.models or self.folders["checkpoints"][0].parent)
        return Row(MISSING, what, found, f"Run: {command}{also and f' ({also})'}", name)

    def place(self, kind: str) -> str:
        return str(self.folders[kind][0])


def file_rows(folders: ModelFolders) -> Iterator[Row]:
    if folders.models is None:
        yield Row(
            NOTE,
            "model files",
            "not looked for: no ComfyUI with this pack was found",
            "Say with --models DIR where ComfyUI's models folder is.",
        )
        return
    if not folders.models.is_dir():
        yield Row(BROKEN, "models folder", f"{folders.models} is no folder", "Give ComfyUI's models folder with --models DIR.")
        return
    yield Row(OK, "models folder", str(folders.models))
    if folders.trouble:
        yield Row(NOTE, "extra_model_paths", folders.trouble)
    yield checkpoints(folders)
    variants: list[int | None] = []
    yield from faceid(folders, variants)
    yield from clip_vision(folders, variants)
    yield face_packs(folders)
    if folders.comfyui is not None:
        yield from writable(folders.models, folders.comfyui)


def checkpoints(folders: ModelFolders) -> Row:
    files = folders.files("checkpoints", ".safetensors", ".ckpt", "model_index.json")
    if not files:
        also = f"or put any SD1.5 or SDXL checkpoint into {folders.place('checkpoints')}"
        return folders.missing("checkpoint", "none", "checkpoint", also)
    for file in files:
        if file.suffix == ".safetensors" and (why := damage(file)):
            return Row(BROKEN, "checkpoint", f"{file.name}: {why}", "Download it again, or remove it.")
    return Row(OK, "checkpoint", listed(files))


def damage(file: Path) -> str:
    try:
        shapes(file)
    except (ValueError, OSError) as error:
        return str(error)
    return ""


def faceid(folders: ModelFolders, widths: list[int | None]) -> Iterator[Row]:
    """Each FaceID file with its variant; `widths` gets the CLIP vision widths that they read."""
    files = folders.files("ipadapter", ".bin", ".safetensors", ".pt", ".pth")
    try:
        from ....models.identity.adapter_file import AdapterFile
        from ....models.identity.faceid.variant import recognise
    except ImportError as error:
        if files:
            yield Row(NOTE, "FaceID", f"{listed(files)} (variant unknown: {error.name} can't be imported)")
    else:
        seen, others = False, []
        for file in files:
            try:
                variant = recognise(AdapterFile(file))
            except FaceGenError as error:
                others.append((file, str(error)))
                continue
            seen = True
            widths.append(variant.clip_dim)
            yield Row(OK, "FaceID", f"{file.name}: {variant.name} for {variant.base}")
        for file, why in others:
            yield Row(NOTE, "no FaceID", f"{file.name}: {why.split('. ')[0]}")
        if seen:
            return
    if not files or widths == []:
        yield folders.missing("FaceID", "no FaceID file" if files else "none", "faceid", f"for SDXL: {FACEID_SDXL}")


def clip_vision(folders: ModelFolders, widths: list[int | None]) -> Iterator[Row]:
    """The CLIP vision files with their widths, and whether one fits the FaceID files."""
    found = {file: clip_width(file) for file in folders.files("clip_vision", ".safetensors")}
    for file, width in found.items():
        yield Row(OK if width else NOTE, "CLIP vision", f"{file.name}: {f'width {width}' if width else 'no CLIP vision model'}")
    needed = {width for width in widths if width} or (set() if widths else {VIT_H})
    for width in sorted(needed - set(found.values())):
        says = f"none of width {width}, which FaceID-Plus reads"
        if width == VIT_H:
            yield folders.missing("CLIP vision", says, "clip_vision")
        else:
            yield Row(MISSING, "CLIP vision", says, f"Put one of that width into {folders.place('clip_vision')}.")


def face_packs(folders: ModelFolders) -> Row:
    roots = [str(path) for path in folders.folders["insightface"]]
    found = find_packs(roots)
    names = ", ".join(sorted(found))
    if not found:
        return folders.missing("model pack", "none", "face_pack")
    if not set(found) & set(FIT_FOR_FACEID):
        return Row(NOTE, "model pack", names, f"For FaceID get one of {', '.join(FIT_FOR_FACEID)} (models download).")
    return Row(OK, "model pack", names)


def writable(models: Path, comfyui: Path) -> Iterator[Row]:
    for name, folder in (
        ("output", comfyui / "output"),
        ("user", comfyui / "user"),
        ("insightface", models / "insightface"),
    ):
        place = folder
        while not place.exists() and place != place.parent:
            place = place.parent
        good = place.is_dir() and os.access(place, os.W_OK)
        yield Row(
            OK if good else BROKEN,
            f"{name} folder",
            f"{folder} {'can' if good else 'can NOT'} be written",
            "" if good else f"Give yourself the right to write into {place}.",
        )


def key_row(user: Path) -> Row:
    """`user` is ComfyUI's user/facegen."""
    from ....api.hosted.profiles import KEY_VARIABLE, ProfileError, load

    keys = user / "modelslab.json"
    try:
        return Row(OK, "ModelsLab key", f"configured ({load('default', keys).source})")
    except ProfileError as error:
        if keys.exists() or os.environ.get(KEY_VARIABLE):
            return Row(BROKEN, "ModelsLab key", "not usable", str(error))
        return Row(OK, "ModelsLab key", "not configured (only the ModelsLab node needs one)")


def listed(files: list[Path], most: int = 4) -> str:
    names = [file.name for file in files[:most]]
    return ", ".join(names) + (f" and {len(files) - most} more" if len(files) > most else "")
