"""Safety checkers by name: NudeNet, and what lies in the folders for safety checkers."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ...errors import BrokenCheckerError, FaceGenError
from ..networks import Place, stay
from .checking import SafetyChecker

NUDENET = "nudenet"


def find_checkers(folders: Iterable[str | Path]) -> dict[str, Path]:
    """Name -> folder with a config.json, or safetensors file beside none, in models/safety_checker and the like.

    Names are paths relative to `folders`, with forward slashes; of two with one name the first counts.
    """
    found: dict[str, Path] = {}
    for root in map(Path, folders):
        files = [Path(folder, name) for folder, _, names in os.walk(root, followlinks=True) for name in names]
        for file in sorted(file for file in files if file.suffix == ".safetensors"):
            entry = file.parent if file.parent != root and (file.parent / "config.json").is_file() else file
            found.setdefault(entry.relative_to(root).as_posix(), entry)
    return found


def load_checker(
    name: str,
    provider: str = "auto",
    preset: str = "default",
    unsafe_labels: Iterable[str] = (),
    folders: Iterable[str | Path] = (),
    place: Place = stay,
) -> SafetyChecker:
    """The checker `name`: "nudenet", or one of find_checkers(folders).

    provider       for NudeNet: a label of onnx_providers.PROVIDERS, or "auto".
    preset         one of checking.PRESETS.
    unsafe_labels  for image classifiers: their unsafe labels, if their names don't say.
    place          see networks.Place; for the others.

    Raises FaceGenError when there is none of that name or it can't run, and as the checkers do.
    """
    if name == NUDENET:
        from .nudenet import NudeNetChecker

        return NudeNetChecker(provider, preset)
    folders = [Path(folder) for folder in folders]
    found = find_checkers(folders)
    if name not in found:
        where = f" It isn't in {', '.join(map(str, folders))}." if folders else ""
        raise FaceGenError(f"There is no safety checker {name!r}.{where} There is: {', '.join([NUDENET, *found])}.")
    weights = concept_file(found[name])
    if weights is not None:
        from .concepts import ConceptChecker

        return ConceptChecker(weights, name, preset, place)
    from .classifier import ClassifierChecker

    return ClassifierChecker(found[name], name, preset, unsafe_labels, place)


def concept_file(entry: Path) -> Path | None:
    """The file of a Stable Diffusion safety checker; None if `entry` is a folder with an image classifier.

    Raises BrokenCheckerError when it is neither.
    """
    if entry.is_file():
        if "concept_embeds" not in _tensor_names(entry):
            raise BrokenCheckerError(
                f"{entry} is not Stable Diffusion's safety checker: it holds no tensor concept_embeds. An image classifier "
                "needs a folder of its own, with its config.json and preprocessor_config.json."
            )
        return entry
    try:
        config = json.loads((entry / "config.json").read_text(encoding="utf-8"))
        architectures = config.get("architectures") or []
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise BrokenCheckerError(f"{entry / 'config.json'} can't be read: {error}") from error
    if "StableDiffusionSafetyChecker" not in architectures:
        return None
    files = sorted(entry.glob("*.safetensors"))
    return next((file for file in files if file.name == "model.safetensors"), files[0])


def _tensor_names(file: Path) -> set[str]:
    try:
        with safe_open(file, "pt") as tensors:
            return set(tensors.keys())
    except (OSError, SafetensorError) as error:
        raise BrokenCheckerError(f"{file} can't be read as safetensors: {error}") from error
