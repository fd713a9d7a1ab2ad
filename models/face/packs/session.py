"""The two models of a pack in ONNX Runtime: loaded once for all who use them, on the provider that works.

InsightFace's own classes read the pictures and the outputs, so the numbers are InsightFace's. Only the two files that are
used are loaded; its FaceAnalysis would open every ONNX file of the folder first.
"""

import logging
import threading
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import numpy as np

from ....errors import BrokenModelPackError, MissingLibraryError
from ... import onnx_providers
from .find import FacePack

log = logging.getLogger(__name__)
CPU = "CPUExecutionProvider"
MOST_CANDIDATES, MOST_FACES = 10_000, 1_000  # of one picture, before and after overlapping ones are merged
Models = Sequence[Any]  # InsightFace's detector and recogniser
T = TypeVar("T")

_sessions: "weakref.WeakValueDictionary[Hashable, FaceSession]" = weakref.WeakValueDictionary()
_sessions_lock = threading.Lock()


def shared_session(pack: FacePack, providers: list[str]) -> "FaceSession":
    """The one session of this pack and these providers; gone when nobody holds it. Raises BrokenModelPackError."""
    stamps = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in (pack.detector, pack.recogniser)]
    key = (*stamps, tuple(providers))
    with _sessions_lock:
        session = _sessions.get(key)
        if session is None:
            session = _sessions[key] = FaceSession(pack, providers, key)
        return session


class FaceSession:
    """Detector and recogniser. May be used by several threads at once.

    key says which files these are, for caches. Raises BrokenModelPackError when a file can't be loaded, MissingLibraryError
    without InsightFace.
    """

    def __init__(self, pack: FacePack, providers: list[str], key: Hashable = ()):
        require_insightface()
        self.pack, self.key = pack, key
        self._lock = threading.Lock()
        try:
            self._models = _load(pack, providers)
        except Exception as error:  # onnxruntime, protobuf and InsightFace have no common type
            if providers == [CPU]:
                raise _load_error(pack, error) from error
            self._models = self._fall_back(pack, providers[0], error)
        self._report_provider(providers[0])

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of the provider that computes."""
        return _provider(self._models)

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """(width, height) of a detector whose file allows but one."""
        size: tuple[int, int] | None = self._models[0].static_input_size
        return size

    def detect(self, bgr: np.ndarray, sizes: list[tuple[int, int]], threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """Boxes with confidence, float32 [n, 5], and key points [n, 5, 2] in pixels, most confident first."""
        boxes, points = self._run(lambda models: models[0].detect(bgr, input_size=sizes, det_thresh=threshold))
        if points is None:
            raise BrokenModelPackError(f"The detector {self.pack.detector} gives no key points, as det_10g.onnx does.")
        return boxes, points

    def embed(self, bgr: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Identity of the face with these key points [5, 2], as the recogniser gives it, float32 [512]."""
        from insightface.app.common import Face

        identity: np.ndarray = self._run(lambda models: models[1].get(bgr, Face(kps=points)))
        return identity

    def _run(self, call: Callable[[Models], T]) -> T:
        models = self._models
        try:
            return call(models)
        except Exception as error:
            if _provider(models) == CPU:
                raise BrokenModelPackError(
                    f"The models in {self.pack.folder} failed on this picture ({type(error).__name__}: {error})."
                ) from error
            with self._lock:
                if self._models is models:  # another thread may have been here first
                    self._models = self._fall_back(self.pack, _provider(models), error)
            return call(self._models)

    @staticmethod
    def _fall_back(pack: FacePack, provider: str, error: Exception) -> Models:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        log.warning("FaceGen: %s failed (%s); %s runs on the CPU.", provider, reason[0], pack.name)
        try:
            return _load(pack, [CPU])
        except Exception as cpu_error:
            raise _load_error(pack, cpu_error) from cpu_error

    def _report_provider(self, wanted: str) -> None:
        if wanted != self.provider == CPU:
            log.warning("FaceGen: ONNX Runtime could not start %s; %s runs on the CPU.", wanted, self.pack.name)


def _provider(models: Models) -> str:
    name: str = models[0].session.get_providers()[0]
    return name


def _load(pack: FacePack, providers: list[str]) -> Models:
    from insightface.model_zoo import model_zoo

    common = {"providers": providers, "sess_options": onnx_providers.session_options()}
    if pack.manifest:
        package = model_zoo.load_model_package(pack.folder)
        tasks = [package.task(task) for task in ("detection", "recognition")]
        models = [model_zoo.get_model(str(pack.folder), model_descriptor=task, **common) for task in tasks]
    else:
        models = [model_zoo.get_model(str(file), **common) for file in (pack.detector, pack.recogniser)]
    kinds = [getattr(model, "taskname", None) for model in models]
    _bound(models[0])
    if kinds != ["detection", "recognition"]:
        raise ValueError(f"InsightFace takes them for {kinds[0]} and {kinds[1]}")
    return models


def _bound(detector: Any) -> None:
    """Let a detector fail that sees faces everywhere, as a damaged one may: merging them takes time in the square of them."""
    merge = getattr(detector, "nms", None)
    if merge is None:  # no detector, which is said elsewhere
        return

    def bounded(found: np.ndarray) -> list[int]:
        if len(found) > MOST_CANDIDATES or len(kept := merge(found)) > MOST_FACES:
            raise ValueError(f"it sees more than {MOST_FACES} faces, as a damaged detector does")
        return list(kept)

    detector.nms = bounded


def _load_error(pack: FacePack, error: Exception) -> BrokenModelPackError:
    detail = str(error).strip().splitlines() or [""]
    return BrokenModelPackError(
        f"The InsightFace model pack {pack.folder} could not be loaded ({type(error).__name__}: {detail[0]}). Whole copies of "
        f"{pack.detector.name} and {pack.recogniser.name} are needed."
    )


def require_insightface() -> None:
    """Raises MissingLibraryError unless InsightFace can be imported."""
    try:
        import insightface.app  # noqa: F401
    except ImportError as error:
        raise MissingLibraryError(
            f"InsightFace can't be imported ({error}). Version 2.1 or later is needed.", 'pip install "insightface>=2.1"'
        ) from error
