"""A model pack that sees the faces it was told of, running; and what its models are asked to compute."""

import pytest

from facegen.models.face import analysis
from facegen.models.face.analysis import FaceAnalysis
from onnx_files import FACES, save_pack


@pytest.fixture(autouse=True)
def nothing_remembered():
    """Each test begins with an empty memory of pictures."""
    analysis.memory.forget()


@pytest.fixture(scope="session")
def pack(tmp_path_factory):
    return save_pack(tmp_path_factory.mktemp("packs") / "buffalo_l", FACES)


@pytest.fixture(scope="session")
def face_analysis(pack):
    return FaceAnalysis(pack, "CPU")


@pytest.fixture(scope="session")
def insightface_app(pack):
    """InsightFace's own face analysis on the same pack."""
    from insightface.app import FaceAnalysis

    app = FaceAnalysis(name=str(pack), allowed_modules=["detection", "recognition"], providers=["CPUExecutionProvider"])
    app.prepare(ctx_id=0)
    return app


@pytest.fixture
def count_inference(monkeypatch):
    """count_inference(face_analysis) -> a list to which each computation from now on adds "detect" or "embed"."""

    def count(face_analysis):
        calls, session = [], face_analysis.session
        for name in ("detect", "embed"):
            whole = getattr(session, name)
            monkeypatch.setattr(session, name, lambda *a, _n=name, _w=whole: calls.append(_n) or _w(*a))
        return calls

    return count
