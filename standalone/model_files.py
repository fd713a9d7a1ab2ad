"""Which files to use, from a folder laid out like ComfyUI's models folder."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ..errors import FaceGenError, UnreadableFileError, WrongBaseModelError
from ..models.checkpoint_kind import FLUX1, SDXL, CheckpointKind, kind_of
from ..models.controlnet_kind import ControlNetKind, controlnet_kind
from ..models.face.packs.find import find_packs, open_pack
from ..models.identity.adapter import IdentityAdapter
from ..models.identity.adapter_file import AdapterFile
from ..models.identity.faceid.adapter import FaceIDAdapter
from ..models.identity.instantid.adapter import InstantIDAdapter
from ..models.identity.pulid.adapter import PulidAdapter
from ..models.identity.raw_embedding import is_instantid
from ..models.published import EVA_CLIP, FACE_PARSING, INSTANTID_CONTROLNET, PUBLISHED
from ..models.safetensors_header import clip_width

FACEID, INSTANTID, PULID = METHODS = ("faceid", "instantid", "pulid")
# Method -> the kinds of file that no other reads.
OWN = {FACEID: ("faceid",), INSTANTID: ("instantid", "controlnet"), PULID: ("pulid", "vision_tower", "face_parsing")}
ADAPTERS: dict[str, type[IdentityAdapter]] = {FACEID: FaceIDAdapter, INSTANTID: InstantIDAdapter, PULID: PulidAdapter}
WHAT = {
    "checkpoint": "an SD1.5 or SDXL checkpoint (checkpoints/NAME.safetensors, or a diffusers folder)",
    "faceid": "a FaceID adapter (ipadapter/ip-adapter-faceid-plusv2_sd15.bin)",
    "clip_vision": "a CLIP vision model (clip_vision/CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors)",
    "face_pack": "an InsightFace model pack (insightface/models/buffalo_l/*.onnx)",
}
WHAT_OF_INSTANTID = {
    "checkpoint": "an SDXL checkpoint (checkpoints/NAME.safetensors, or a diffusers folder)",
    "instantid": "an InstantID adapter (instantid/ip-adapter.bin)",
    "controlnet": "InstantID's ControlNet (controlnet/instantid-controlnet.safetensors)",
    "face_pack": "the InsightFace model pack antelopev2 (insightface/models/antelopev2/*.onnx)",
}
WHAT_OF_PULID = {
    "checkpoint": "an SDXL checkpoint (checkpoints/NAME.safetensors, or a diffusers folder), or FLUX.1 as a diffusers folder",
    "pulid": "a PuLID file (pulid/pulid_v1.1.safetensors; for FLUX.1 pulid/pulid_flux_v0.9.1.safetensors)",
    "vision_tower": f"the vision tower EVA02-CLIP (clip_vision/{PUBLISHED[EVA_CLIP].file})",
    "face_parsing": f"the face-parsing network (facexlib/{PUBLISHED[FACE_PARSING].file})",
    "face_pack": WHAT_OF_INSTANTID["face_pack"],
}
# Taken without asking where there are several.
PREFERRED = {"clip_vision": "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors", "face_pack": FaceIDAdapter.pack}
PREFERRED_OF_INSTANTID = {
    "controlnet": PUBLISHED[INSTANTID_CONTROLNET].file,
    "face_pack": InstantIDAdapter.pack,
}
PREFERRED_OF_PULID = {
    "vision_tower": PUBLISHED[EVA_CLIP].file,
    "face_parsing": PUBLISHED[FACE_PARSING].file,
    "face_pack": PulidAdapter.pack,
}
WEIGHTS = (".pt", ".pth", ".bin", ".safetensors")
T = TypeVar("T")
Adapter = TypeVar("Adapter", bound=IdentityAdapter)


class MissingFiles(FaceGenError):
    """The folder lacks some kinds of file altogether, that `method` needs; `kinds` are their names."""

    def __init__(self, message: str, kinds: list[str], method: str = FACEID):
        super().__init__(message)
        self.kinds, self.method = kinds, method


class SeveralFiles(FaceGenError):
    """Of one kind there are several files that would do; `names` are theirs."""

    def __init__(self, message: str, kind: str, names: list[str]):
        super().__init__(message)
        self.kind, self.names = kind, names


@dataclass(frozen=True)
class ModelFiles:
    """checkpoint: a .safetensors file or a diffusers folder; face_pack: a folder of ONNX files; the others: files. Those of the
    method that isn't used are None."""

    checkpoint: Path
    face_pack: Path
    faceid: Path | None = None
    clip_vision: Path | None = None
    instantid: Path | None = None
    controlnet: Path | None = None
    pulid: Path | None = None
    vision_tower: Path | None = None
    face_parsing: Path | None = None

    @property
    def method(self) -> str:
        """One of METHODS. Raises ValueError where the file of none is there."""
        for method in METHODS:
            if getattr(self, method) is not None:
                return method
        raise ValueError("the adapter of no method is given")


@dataclass(frozen=True)
class _Folder:
    """What there is of each kind, and the names that choose among it."""

    path: Path
    found: dict[str, dict[str, Path]] = field(default_factory=dict)
    names: dict[str, str | None] = field(default_factory=dict)

    def require(self, what: Mapping[str, str], method: str, found: Mapping[str, Mapping[str, object]]) -> None:
        missing = [kind for kind in what if not found[kind]]
        if missing:
            lacks = "; ".join(what[kind] for kind in missing)
            raise MissingFiles(f"{self.path} lacks {lacks}. It is laid out like ComfyUI's models folder.", missing, method)

    def pick(self, kind: str, found: Mapping[str, T], preferred: Mapping[str, str] = PREFERRED) -> T:
        return _pick(kind, found, self.names.get(kind), preferred)

    def checkpoint(self) -> CheckpointKind:
        kind = kind_of(self.pick("checkpoint", self.found["checkpoint"]))
        kind.require_supported()
        return kind


def find_model_files(folder: Path, method: str | None = None, base: str | None = None, **names: str | None) -> ModelFiles:
    """The model files in `folder`. The names, by kind ("checkpoint", "faceid", …), choose where there are several; without a
    method it is FaceID, or another one where there is only that for the checkpoint. With a base, such as "SDXL", only its
    checkpoints count.

    Raises MissingFiles, which lists everything that is missing and where it belongs, SeveralFiles where nothing chooses, or
    another FaceGenError.
    """
    path = Path(folder)
    adapters = _files(path / "ipadapter", ".safetensors", ".bin")
    here = _Folder(
        path,
        {
            "checkpoint": checkpoints(path / "checkpoints", base),
            "faceid": adapters,
            "clip_vision": _files(path / "clip_vision", ".safetensors"),
            "face_pack": find_packs([str(path / "insightface")]),
            "instantid": _files(path / INSTANTID, ".safetensors", ".bin") | _instantid_among(adapters),
            "controlnet": _files(path / "controlnet", ".safetensors"),
            "pulid": _files(path / PULID, ".safetensors", ".bin") | _called(adapters, PULID),
            "vision_tower": _files(path / "clip_vision", *WEIGHTS),
            "face_parsing": _files(path / "facexlib", *WEIGHTS),
        },
        names,
    )
    find = {FACEID: _of_faceid, INSTANTID: _of_instantid, PULID: _of_pulid}
    return find[method or _method(here)](here)


def _method(here: _Folder) -> str:
    """By what was named, else by what is there: the first that fits the checkpoint."""
    for method, kinds in OWN.items():
        if any(here.names.get(kind) for kind in kinds):
            return method
    there = [method for method in METHODS if here.found[method]]
    if len(there) < 2 or not here.found["checkpoint"]:
        return next(iter(there), FACEID)
    kind = here.checkpoint()
    for method in there:
        adapters, _ = _opened(ADAPTERS[method], here.found[method])
        if any(_fits(adapter, kind) for adapter in adapters.values()):
            return method
    return there[0]


def _of_faceid(here: _Folder) -> ModelFiles:
    here.require(WHAT, FACEID, here.found)
    kind = here.checkpoint()
    adapter = _adapter(FaceIDAdapter, "faceid", here, kind)
    clip_vision = _clip_vision(here.found["clip_vision"], here.names.get("clip_vision"), adapter)
    pack = here.pick("face_pack", here.found["face_pack"])
    return ModelFiles(kind.path, pack, faceid=adapter.file.path, clip_vision=clip_vision)


def _of_instantid(here: _Folder) -> ModelFiles:
    """Of ControlNets only those of SDXL count."""
    packs = _packs(here, InstantIDAdapter)
    here.require(WHAT_OF_INSTANTID, INSTANTID, here.found | {"face_pack": packs})
    kind = here.checkpoint()
    if kind.base != SDXL:
        raise WrongBaseModelError(f"InstantID was made for SDXL, and the checkpoint {kind.path.name} is {kind.base}.")
    adapter = _adapter(InstantIDAdapter, "instantid", here, kind)
    return ModelFiles(
        kind.path,
        here.pick("face_pack", packs, PREFERRED_OF_INSTANTID),
        instantid=adapter.file.path,
        controlnet=_controlnet(here, kind),
    )


def _of_pulid(here: _Folder) -> ModelFiles:
    """Other vision models and networks lie beside PuLID's: by their names they are told apart, unless one is named."""
    found = here.found | {"face_pack": _packs(here, PulidAdapter)}
    for network, part in (("vision_tower", "eva"), ("face_parsing", "bisenet")):
        if not here.names.get(network):
            found[network] = _called(found[network], part)
    here.require(WHAT_OF_PULID, PULID, found)
    kind = here.checkpoint()
    if kind.base not in (SDXL, FLUX1):
        raise WrongBaseModelError(f"PuLID was made for SDXL and FLUX.1, and the checkpoint {kind.path.name} is {kind.base}.")
    adapter = _adapter(PulidAdapter, PULID, here, kind)
    pack, tower, parsing = (
        here.pick(name, found[name], PREFERRED_OF_PULID) for name in ("face_pack", "vision_tower", "face_parsing")
    )
    return ModelFiles(kind.path, pack, pulid=adapter.file.path, vision_tower=tower, face_parsing=parsing)


def _packs(here: _Folder, adapter: type[IdentityAdapter]) -> dict[str, Path]:
    """The model packs whose recogniser the adapter knows; all of them, if one is named."""
    packs = here.found["face_pack"]
    if here.names.get("face_pack"):
        return packs
    return {name: path for name, path in packs.items() if open_pack(path).recogniser_name == adapter.recogniser}


def _called(files: Mapping[str, Path], part: str) -> dict[str, Path]:
    """Those with it in their own name."""
    return {name: path for name, path in files.items() if part in path.name.lower()}


def _files(folder: Path, *endings: str) -> dict[str, Path]:
    """Path relative to `folder` -> file, in all subfolders; links are followed, as ComfyUI does."""
    paths = (Path(root, name) for root, _, names in os.walk(folder, followlinks=True) for name in names)
    return {path.relative_to(folder).as_posix(): path for path in sorted(paths) if path.name.lower().endswith(endings)}


def checkpoints(folder: Path, base: str | None = None) -> dict[str, Path]:
    """Path relative to `folder` -> diffusers folder or single file; of that base alone, where one is given."""
    folders = {path.parent for path in _files(folder, "model_index.json").values()} - {folder}
    files = _files(folder, ".safetensors")
    single = {name: path for name, path in files.items() if folders.isdisjoint(path.parents)}
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folders)} | single
    return found if base is None else {name: path for name, path in found.items() if _is_of(path, base)}


def _is_of(path: Path, base: str) -> bool:
    """One that can't be read, such as a download that was cut short, is of no base; that is told when it is opened."""
    try:
        return kind_of(path).base == base
    except UnreadableFileError:
        return False


def _instantid_among(adapters: dict[str, Path]) -> dict[str, Path]:
    """Those that surely are: other IP-Adapters lie in the same folder."""
    found = {}
    for name, path in adapters.items():
        try:
            if is_instantid(AdapterFile(path)):
                found[name] = path
        except FaceGenError:
            continue  # told when it is opened as what is needed
    return found


def _opened(cls: Callable[[Path], Adapter], files: Mapping[str, Path]) -> tuple[dict[str, Adapter], list[FaceGenError]]:
    """Those that are such adapters, and why the others aren't."""
    adapters: dict[str, Adapter] = {}
    refused: list[FaceGenError] = []
    for name, path in files.items():
        try:
            adapters[name] = cls(path)
        except FaceGenError as error:
            refused.append(error)
    return adapters, refused


def _adapter(cls: type[Adapter], kind: str, here: _Folder, checkpoint: CheckpointKind) -> Adapter:
    """That for the checkpoint. IP-Adapters of other kinds lie in the same folder; they are left out unless named."""
    files, name = here.found[kind], here.names.get(kind)
    if name is not None:
        adapters = {name: cls(here.pick(kind, files))}
    else:
        adapters, refused = _opened(cls, files)
        if not adapters:
            damaged = any(isinstance(error, UnreadableFileError) for error in refused)
            why = f"There is no {cls.method} adapter among {', '.join(files)}. {' '.join(map(str, refused))}"
            raise UnreadableFileError(why) if damaged else FaceGenError(why)
    fitting = {key: adapter for key, adapter in adapters.items() if _fits(adapter, checkpoint)}
    if not fitting:
        others = ", ".join(
            f"{key} is for {adapter.variant.base}{_in_numbers(adapter.blocks, adapter.variant.context_dim)}"
            for key, adapter in adapters.items()
        )
        raise WrongBaseModelError(
            f"No {cls.method} adapter fits the checkpoint {checkpoint.path.name}, which is {checkpoint.base}"
            f"{_in_numbers(checkpoint.blocks, checkpoint.context_dim)}: {others}."
        )
    return _pick(kind, fitting, None, PREFERRED)


def _fits(adapter: IdentityAdapter, checkpoint: CheckpointKind) -> bool:
    """Whether both are of one base, as far as that can be told before they are loaded."""
    is_flux = isinstance(adapter, PulidAdapter) and adapter.variant.flux
    if is_flux or checkpoint.base == FLUX1:
        return is_flux and checkpoint.base == FLUX1
    return checkpoint.context_dim in (None, adapter.variant.context_dim) and checkpoint.blocks in (None, adapter.blocks)


def _in_numbers(blocks: int | None, context_dim: int | None) -> str:
    """In brackets; FLUX.1 has no such blocks."""
    return f" ({blocks} cross-attention blocks, context width {context_dim})" if blocks else ""


def _controlnet(here: _Folder, checkpoint: CheckpointKind) -> Path:
    """The one named, else one for the checkpoint's base: by its name InstantID's, if there are several."""
    files = here.found["controlnet"]
    if here.names.get("controlnet"):
        return here.pick("controlnet", files)
    kinds = {name: controlnet_kind(path, default=ControlNetKind()) for name, path in files.items()}
    fitting = {name: files[name] for name, kind in kinds.items() if kind.fits(checkpoint.context_dim)}
    if not fitting:
        seen = ", ".join(f"{name} is {kind.in_words()}" for name, kind in kinds.items())
        raise WrongBaseModelError(f"There is no ControlNet for the checkpoint {checkpoint.path.name}: {seen}.")
    named = {name: path for name, path in fitting.items() if INSTANTID in name.lower()}
    return _pick("controlnet", named or fitting, None, PREFERRED_OF_INSTANTID)


def _clip_vision(files: dict[str, Path], name: str | None, adapter: FaceIDAdapter) -> Path:
    """The model of the width that the adapter reads; any, if it reads none."""
    chosen = files if name is None else {name: _pick("clip_vision", files, name, PREFERRED)}
    widths = {key: clip_width(path) for key, path in chosen.items()}
    needed = adapter.variant.clip_dim
    fitting = {key: chosen[key] for key, width in widths.items() if width and needed in (None, width)}
    if not fitting:
        seen = ", ".join(f"{key} ({f'width {width}' if width else 'no CLIP vision model'})" for key, width in widths.items())
        wanted = f" of width {needed}" if needed else ""
        raise FaceGenError(f"{adapter.file.path.name} needs a CLIP vision model{wanted} in clip_vision. Found: {seen}.")
    return _pick("clip_vision", fitting, None, PREFERRED)


def _pick(kind: str, found: Mapping[str, T], name: str | None, preferred: Mapping[str, str]) -> T:
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    wanted = preferred.get(kind) if name is None else Path(name).as_posix()
    if wanted is not None and wanted in found:
        return found[wanted]
    given = "several were found" if name is None else f"there is no {name!r}"
    option = f"--{kind.replace('_', '-')}"
    why = f"Choose a {kind.replace('_', ' ')} with {option}: {given}. There are: {', '.join(found)}."
    raise SeveralFiles(why, kind, list(found)) if name is None else FaceGenError(why)
