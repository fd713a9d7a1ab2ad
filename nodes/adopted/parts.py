"""What the old packs' loaders give: models by their names and presets, found as our own loaders find them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.clip_vision
import folder_paths

from ...adoption.old_nodes import OldNode
from ...adoption.packs.ip_adapter import UNNORM
from ...errors import FaceGenError, NotAnAdapterError, UnreadableFileError, WrongBaseModelError
from ...models import onnx_providers
from ...models.face.analysis import FaceAnalysis
from ...models.identity.faceid.adapter import FaceIDAdapter
from ...models.published import CLIP_VIT_H, PUBLISHED
from ...models.safetensors_header import clip_width
from ..face import face_packs, missing_pack
from ..faceid import FOLDER
from ..host import combos
from ..host.reports import warn
from ..host.sampling.unet_blocks import matching_blocks
from .schema import files

PROVIDERS = {label.lower(): label for label in onnx_providers.PROVIDERS}  # the packs write ROCM


def check_file(old: OldNode, name: str | None) -> bool | str:
    """For a loader's validate_inputs: True, or what to do about a file that isn't in the folder of its only input."""
    return combos.check(name, files(old.inputs[0]), lambda value: _not_here(old, value))


def file_path(old: OldNode, name: str) -> str:
    """Of a file that a loader was told. Raises FaceGenError."""
    combos.require(name, files(old.inputs[0]), lambda value: _not_here(old, value).removeprefix(f"{old.title}: "))
    path: str = folder_paths.get_full_path_or_raise(old.inputs[0].folder, name)
    return path


def _not_here(old: OldNode, name: str) -> str:
    where = ", ".join(folder_paths.get_folder_paths(old.inputs[0].folder))
    get = "`python <pack folder> models list` shows what can be had."
    return combos.not_here(old.title, name, files(old.inputs[0]), where, get)


@dataclass(frozen=True)
class Pipeline:
    """What goes over an IPADAPTER link: the adapter, and what else a loader has loaded for it."""

    adapter: FaceIDAdapter
    clip_vision: Any = None
    face_analysis: FaceAnalysis | None = None


def face_analysis(pack: str, provider: str) -> FaceAnalysis:
    """The pack's detector and recogniser, on the provider if ONNX Runtime has it; otherwise on the fastest that it has."""
    found = face_packs()
    combos.require(pack, found, missing_pack)
    label = PROVIDERS.get(provider.lower(), "auto")
    if label not in onnx_providers.available():
        warn(f"ONNX Runtime here has no {provider} provider, so it picks the fastest that it has.")
        label = "auto"
    return FaceAnalysis(found[pack], label)


def adapter_of_kind(model: Any, kind: str) -> FaceIDAdapter:
    """The FaceID file in models/ipadapter that is of this kind (the beginning of its variant's name) and fits the model.

    Known by its tensors. Files that are called after the kind are opened first, as a large file takes its time.
    """
    names = sorted(folder_paths.get_filename_list(FOLDER), key=lambda name: (_likeness(name, kind), name))
    others = []
    for name in names:
        try:
            adapter = FaceIDAdapter(folder_paths.get_full_path_or_raise(FOLDER, name))
        except (NotAnAdapterError, UnreadableFileError):
            others.append(f"{name} (not FaceID)")
            continue
        if _kind(adapter) == kind and _fits(model, adapter):
            return adapter
        others.append(f"{name} ({adapter.variant.name})")
    where = ", ".join(folder_paths.get_folder_paths(FOLDER))
    raise FaceGenError(
        f"No {kind} file for this model was found in {where}. There is: {', '.join(others) or 'nothing yet'}. `python <pack "
        "folder> models list` shows which can be downloaded."
    )


def _likeness(name: str, kind: str) -> int:
    """0 for a file that is called after the kind of adapter, 1 for another."""
    plain = name.lower().replace("-", "").replace("_", "").replace(".", "")
    return 0 if all(part in plain for part in kind.replace("_", "-").split("-")) else 1


def _kind(adapter: FaceIDAdapter) -> str:
    name = adapter.variant.name
    return name.split("_")[0] + (UNNORM if name.endswith(UNNORM) else "")


def _fits(model: Any, adapter: FaceIDAdapter) -> bool:
    try:
        matching_blocks(model, adapter)
    except WrongBaseModelError:
        return False
    return True


def clip_vision_for(adapter: FaceIDAdapter) -> Any:
    """The CLIP vision model in models/clip_vision that the adapter reads, known by its width; None if it reads none."""
    needed = adapter.variant.clip_dim
    if needed is None:
        return None
    found = folder_paths.get_filename_list("clip_vision")
    paths = {name: Path(folder_paths.get_full_path_or_raise("clip_vision", name)) for name in found}
    fitting = [path for path in paths.values() if clip_width(path) == needed]
    if not fitting:
        published = PUBLISHED[CLIP_VIT_H]
        raise FaceGenError(
            f"{adapter.file.path.name} needs a CLIP vision model of width {needed}, and there is none in models/clip_vision "
            f"({', '.join(found) or 'which is empty'}). Get it with `python <pack folder> models download {published.name}`, "
            f"or download into that folder: {published.in_words()}."
        )
    return comfy.clip_vision.load(str(fitting[0]))
