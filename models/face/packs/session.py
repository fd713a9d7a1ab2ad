"""The two models of a pack in ONNX Runtime: loaded once for all who use them, on the provider that works.

InsightFace's own classes read the pictures and the outputs, so the numbers are InsightFace's. Only the two files that are
used are loaded; its FaceAnalysis would open every ONNX file of the folder first.
"""

import logging
import threading
import weakref
from collections.abc import Callable

import numpy as np

from ....errors import FaceGenError
from .find import FacePack

log = logging.getLogger(__name__)
CPU = "CPUExecutionProvider"
QUIET = 3  # ONNX Runtime's severity "error": its warnings are about the files' age

_sessions: "weakref.WeakValueDictionary[tuple, FaceSession]" = weakref.WeakValueDictionary()
_sessions_lock = threading.Lock()


def shared_session(pack: FacePack, providers: list[str]) -> "FaceSession":
    """The one session of this pack and these providers; gone when nobody holds it. Raises FaceGenError."""
    stamps = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in (pack.detector, pack.recogniser)]
    key = (*stamps, tuple(providers))
    with _sessions_lock:
        session = _sessions.get(key)
        if session is None:
            session = _sessions[key] = FaceSession(pack, providers, key)
        return session


class FaceSession:
    """Detector and recogniser. May be used by several threads at once.

    key says which files these are, for caches. Raises FaceGenError when a file can't be loaded.
    """

    def __init__(self, pack: FacePack, providers: list[str], key: tuple = ()):
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
        return self._models[0].session.get_providers()[0]

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """(width, height) of a detector whose file allows but one."""
        return self._models[0].static_input_size

    def detect(self, bgr: np.ndarray, sizes: list[tuple[int, int]], threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """Boxes with confidence, float32 [n, 5], and key points [n, 5, 2] in pixels, most confident first."""
        boxes, points = self._run(lambda models: models[0].detect(bgr, input_size=sizes, det_thresh=threshold))
        if points is None:
            raise FaceGenError(f"The detector {self.pack.detector} gives no key points; use one such as det_10g.onnx.")
        return boxes, points

    def embed(self, bgr: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Identity of the face with these key points [5, 2], as the recogniser gives it, float32 [512]."""
        from insightface.app.common import Face

        return self._run(lambda models: models[1].get(bgr, Face(kps=points)))

    def _run(self, call: Callable):
        models = self._models
        try:
            return call(models)
        except Exception as error:
            if models[0].session.get_providers()[0] == CPU:
                raise FaceGenError(
                    f"The models in {self.pack.folder} failed on this picture ({type(error).__name__}: {error}). If they "
                    "fail on every picture, download the pack again."
                ) from error
            with self._lock:
                if self._models is models:  # another thread may have been here first
                    self._models = self._fall_back(self.pack, models[0].session.get_providers()[0], error)
            return call(self._models)

    @staticmethod
    def _fall_back(pack: FacePack, provider: str, error: Exception):
        reason = str(error).strip().splitlines() or [type(error).__name__]
        log.warning("FaceGen: %s failed (%s); %s runs on the CPU.", provider, reason[0], pack.name)
        try:
            return _load(pack, [CPU])
        except Exception as cpu_error:
            raise _load_error(pack, cpu_error) from cpu_error

    def _report_provider(self, wanted: str) -> None:
        if wanted != self.provider == CPU:
            log.warning("FaceGen: ONNX Runtime could not start %s; %s runs on the CPU.", wanted, self.pack.name)


def _load(pack: FacePack, providers: list[str]):
    import onnxruntime
    from insightface.model_zoo import model_zoo

    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    common = {"providers": providers, "sess_options": options}
    if pack.manifest:
        package = model_zoo.load_model_package(pack.folder)
        tasks = [package.task(task) for task in ("detection", "recognition")]
        models = [model_zoo.get_model(str(pack.folder), model_descriptor=task, **common) for task in tasks]
    else:
        models = [model_zoo.get_model(str(file), **common) for file in (pack.detector, pack.recogniser)]
    kinds = [getattr(model, "taskname", None) for model in models]
    if kinds != ["detection", "recognition"]:
        raise ValueError(f"InsightFace takes them for {kinds[0]} and {kinds[1]}")
    return models


def _load_error(pack: FacePack, error: Exception) -> FaceGenError:
    detail = str(error).strip().splitlines() or [""]
    return FaceGenError(
        f"The InsightFace model pack {pack.folder} could not be loaded ({type(error).__name__}: {detail[0]}). Download it "
        f"again; it uses {pack.detector.name} and {pack.recogniser.name}."
    )


def require_insightface() -> None:
    """Raise FaceGenError, with the cure, unless InsightFace can be imported."""
    try:
        import insightface.app  # noqa: F401
    except ImportError as error:
        raise FaceGenError(
            f"InsightFace can't be imported ({error}). Install it into ComfyUI's Python: pip install \"insightface>=2.1\""
        ) from error
