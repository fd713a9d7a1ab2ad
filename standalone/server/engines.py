"""Which engine makes a flavour's pictures: found in the models folder, loaded when it is needed first, few kept at once."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ...api.local.backend import BackendError, Files
from ...api.local.flavours import FLAVOURS, TINY, Flavour, StyleFiles
from ...errors import FaceGenError
from ...models.checkpoint_kind import FLUX1, SD15, SDXL
from ...models.published import CHECKPOINT, FACEID_SD15, FACEID_SDXL, PUBLISHED, PULID_FLUX
from ...models.tiny_files import require_tiny_files
from ..memory import is_out_of_memory, make_room
from ..model_files import PULID, ModelFiles, checkpoints, find_model_files

if TYPE_CHECKING:
    from ..engine import Engine

MOST = 2  # engines that are kept loaded
T = TypeVar("T")


class Usual(NamedTuple):
    """What a built-in flavour is made with: a checkpoint of that base, and these files where they are there; `method` is the
    only one that it can be made with."""

    base: str
    names: dict[str, str]
    method: str | None = None


# A workflow of the built-in flavours -> the files that are taken of several, where the settings name none.
USUAL = {
    "local_sd15": Usual(SD15, {"checkpoint": PUBLISHED[CHECKPOINT].file, "faceid": PUBLISHED[FACEID_SD15].file}),
    "local_sdxl": Usual(SDXL, {"checkpoint": "RealVisXL_V4.0.safetensors", "faceid": PUBLISHED[FACEID_SDXL].file}),
    "local_flux": Usual(FLUX1, {"pulid": PUBLISHED[PULID_FLUX].file}, PULID),
}
FOLDERS = {"checkpoint": "checkpoints", "faceid": "ipadapter", "pulid": "pulid"}
NO_MODELS = "{} needs real model files, and serve was started without any. Start it with --models DIR."


def open_engine(files: ModelFiles) -> "Engine":
    """Raises FaceGenError. Imports diffusers, which one who hands pictures on does without."""
    from ..engine import Engine

    return Engine(files)


@dataclass
class Engines:
    """The engines of the files in `models`; None has the tiny model alone. `load` opens one."""

    models: Path | None
    load: "Callable[[ModelFiles], Engine]" = open_engine
    _open: "OrderedDict[ModelFiles, Engine]" = field(default_factory=OrderedDict)

    def files_of(self, flavour: Flavour) -> Files:
        """The files of a flavour, or what it lacks in words."""
        try:
            return Files(told(self.files(flavour, "")), [])
        except FaceGenError as error:
            return Files({}, [str(error)])

    def files(self, flavour: Flavour, style: str) -> ModelFiles:
        """The files for a request of that flavour and style. Raises BackendError, or FaceGenError about the files."""
        own = flavour.styles.get(style) or StyleFiles()
        if own.loras:
            raise BackendError(f"The style {style} has LoRAs in the settings, which only ComfyUI can use.")
        if flavour.workflow == FLAVOURS[TINY].workflow:
            return find_model_files(require_tiny_files())
        if flavour.workflow not in USUAL:
            raise BackendError(f"The flavour's workflow is {flavour.workflow}, and workflows of one's own need ComfyUI.")
        if self.models is None:
            raise BackendError(NO_MODELS.format(flavour.workflow.removeprefix("local_")))
        usual = USUAL[flavour.workflow]
        there = {kind: name for kind, name in usual.names.items() if (self.models / FOLDERS[kind] / name).exists()}
        given = {kind: getattr(flavour, kind) for kind in ("faceid", "clip_vision", "face_pack")}
        checkpoint = own.checkpoint or flavour.checkpoint or there.get("checkpoint") or _only(self.models, usual.base)
        names = {**there, **{kind: name for kind, name in given.items() if name}, "checkpoint": checkpoint}
        return find_model_files(self.models, usual.method, **names)

    def get(self, files: ModelFiles) -> "Engine":
        """The engine of these files; the one that was used longest ago makes room for it. Raises FaceGenError."""
        if files not in self._open:
            while len(self._open) >= MOST:
                self._open.popitem(last=False)
            self._open[files] = self.load(files)
        self._open.move_to_end(files)
        return self._open[files]

    def get_with_room(self, files: ModelFiles) -> "Engine":
        """As get; where the memory doesn't suffice for one more, the others make room for it."""
        try:
            return self.get(files)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            error.__traceback__ = None  # it would hold on to the memory that lacked
        self.forget()
        make_room()
        return self.get(files)

    def with_room(self, files: ModelFiles, work: Callable[[], T]) -> T:
        """What `work` with the engine of these files gives; where the memory doesn't suffice, once more without the others."""
        try:
            return work()
        except Exception as error:
            if not is_out_of_memory(error) or not self.forget_others(files):
                raise
            error.__traceback__ = None
        make_room()
        return work()

    def is_open(self, files: ModelFiles) -> bool:
        return files in self._open

    def forget_others(self, files: ModelFiles) -> bool:
        """Let go of all but those of these files; whether there were any."""
        others = [each for each in self._open if each != files]
        for each in others:
            del self._open[each]
        return bool(others)

    def forget(self) -> None:
        """Let go of all of them, so that their memory is free."""
        self._open.clear()


def _only(models: Path, base: str) -> str | None:
    """The name of the one checkpoint of that base; None where there are no checkpoints at all. Raises BackendError."""
    folder = models / FOLDERS["checkpoint"]
    found, fitting = checkpoints(folder), checkpoints(folder, base)
    if len(fitting) == 1 or not found:
        return next(iter(fitting), None)
    if not fitting:
        raise BackendError(f"There is no {base} checkpoint among {', '.join(found)}.")
    raise BackendError(f"There are several {base} checkpoints: {', '.join(fitting)}. Set checkpoint of the flavour.")


def has_flux(models: Path) -> bool:
    """Whether there is a FLUX.1 checkpoint among the models."""
    return bool(checkpoints(models / FOLDERS["checkpoint"], FLUX1))


def told(files: ModelFiles) -> dict[str, str]:
    """The files by what they are, for the answer's meta: names without folders."""
    return {kind: path.name for kind, path in vars(files).items() if isinstance(path, Path)}
