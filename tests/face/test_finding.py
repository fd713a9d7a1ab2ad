"""Finding faces that are hard to find, once for all who ask, on whatever computes."""

import gc
import logging
import threading
import weakref

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facegen.errors import BrokenModelPackError
from facegen.models import onnx_providers
from facegen.models.face import analysis
from facegen.models.face.analysis import FaceAnalysis, to_bgr
from facegen.models.face.packs.find import open_pack
from facegen.models.face.packs.session import CPU, shared_session
from facegen.models.face.tries import TRIES
from onnx_files import save_detector, save_pack, save_recogniser

FACES = [(0.30, 0.30, 0.60, 0.60, 0.9)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return save_pack(tmp_path_factory.mktemp("packs") / "plain", FACES)


def picky(folder, **needs):
    folder.mkdir()
    save_detector(folder / "det.onnx", FACES, **needs)
    save_recogniser(folder / "rec.onnx")
    return FaceAnalysis(folder, "CPU")


def grey(height, width, value=128):
    return np.full((height, width, 3), value, np.uint8)


def test_a_face_that_fills_the_picture_is_found_with_a_border(tmp_path):
    face_analysis = picky(tmp_path / "p", border=True)
    found = face_analysis.find(grey(200, 100))
    assert [t.border for t in found.tries] == [0, 0.5]
    (face,) = found.faces
    # The square that the detector looked at is the bordered picture: 400 pixels, and 100 of border on each side.
    assert face.bbox == pytest.approx(np.array([0.3, 0.3, 0.6, 0.6]) * 400 - 100, abs=1)
    bordered = np.pad(grey(200, 100), ((100, 100), (100, 100), (0, 0)))
    (same,) = face_analysis.detect(bordered)  # at the first try
    assert face.kps == pytest.approx(same.kps - 100, abs=1e-3)


@pytest.mark.parametrize("side", [320, 1280, 256])
def test_other_detector_sizes_are_tried(tmp_path, side):
    found = picky(tmp_path / "p", side=side).find(grey(300, 300))
    assert len(found.faces) == 1 and (side, side) in found.tries[-1].sizes
    assert found.faces[0].bbox == pytest.approx(np.array([0.3, 0.3, 0.6, 0.6]) * 300, abs=2) or found.tries[-1].border


def test_giving_up_takes_a_bounded_number_of_tries_and_reports_them(plain, count_inference):
    face_analysis = FaceAnalysis(plain, "CPU")
    calls = count_inference(face_analysis)
    found = face_analysis.find(grey(100, 300, 0))
    assert found.faces == () and len(found.tries) == len(TRIES) == 7 and calls == ["detect"] * 7
    message = str(face_analysis.no_face(100, 300))
    assert all(str(attempt) in message for attempt in found.tries) and "border of 50%" in message


def test_a_detector_of_one_size_is_not_asked_the_same_twice(tmp_path, monkeypatch):
    face_analysis = FaceAnalysis(save_pack(tmp_path / "p", FACES), "CPU")
    monkeypatch.setattr(type(face_analysis.session), "fixed_size", (640, 640))
    assert [str(t) for t in face_analysis.find(grey(64, 64, 0)).tries] == [
        "640x640",
        "640x640 with a border of 50%",
        "640x640 with a border of 25%",
        "640x640, turned a quarter left",
        "640x640, turned a quarter right",
        "640x640, turned upside down",
    ]


def test_a_found_face_costs_one_try(plain):
    assert FaceAnalysis(plain, "CPU").find(grey(90, 70)).tries == TRIES[:1]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(64, 400),
    width=st.integers(64, 400),
    turns=st.integers(0, 3),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    value=st.floats(0.1, 1),
)
def test_any_size_dtype_and_rotation(plain, height, width, turns, dtype, value):
    """Faces come out finite, where the detector saw them, and can be embedded; strided tensors are read like any.

    InsightFace rounds the picture it reduces to whole pixels, so the thinner it is, the less exact is the place.
    """
    picture = torch.full((height, width, 3), value, dtype=dtype).rot90(turns)
    bgr = to_bgr(picture)
    expected = (picture.float() * 255).round().clamp(0, 255).to(torch.uint8).numpy()[..., ::-1]
    assert np.array_equal(bgr, expected)
    face_analysis = FaceAnalysis(plain, "CPU")
    (face,) = face_analysis.detect(bgr)
    side = max(bgr.shape[:2])
    assert face.usable and face.bbox == pytest.approx(np.array([0.3, 0.3, 0.6, 0.6]) * side, abs=0.05 * side + 3)
    assert torch.isfinite(face_analysis.embed(bgr, [face])).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (7, 3000), (64, 64), (8000, 6000)])
def test_tiny_huge_and_thin_pictures(plain, shape):
    (face,) = FaceAnalysis(plain, "CPU").detect(grey(*shape))
    assert face.usable


def test_values_outside_the_range_are_clamped():
    picture = torch.tensor([[[-3.0, 0.0, 0.5], [1.0, 1.2, 1e30]]])
    assert to_bgr(picture).tolist() == [[[128, 0, 0], [255, 255, 255]]]


def test_the_same_pixels_cost_no_inference(plain, count_inference):
    face_analysis = FaceAnalysis(plain, "CPU")
    calls = count_inference(face_analysis)
    first = face_analysis.find(grey(80, 80))
    identity = face_analysis.embed(grey(80, 80), list(first.faces))
    assert calls == ["detect", "embed"]
    identity.zero_()  # what was given out is not what is kept
    again = FaceAnalysis(plain, "CPU")
    assert again.find(grey(80, 80)).faces == first.faces
    assert again.embed(grey(80, 80), list(first.faces)).any()
    assert calls == ["detect", "embed"]
    again.find(grey(80, 81))
    FaceAnalysis(plain, "CPU", min_confidence=0.7).find(grey(80, 80))
    assert calls == ["detect", "embed", "detect", "detect"]


def test_the_memory_is_bounded(plain, monkeypatch, count_inference):
    monkeypatch.setattr(analysis.memory, "size", 5)
    face_analysis = FaceAnalysis(plain, "CPU")
    for width in range(10, 30):
        face_analysis.find(grey(10, width))
    assert len(analysis.memory) == 5
    calls = count_inference(face_analysis)
    face_analysis.find(grey(10, 29))
    face_analysis.find(grey(10, 10))
    assert calls == ["detect"]


def test_one_session_per_pack_and_provider(plain, tmp_path):
    first, second = FaceAnalysis(plain, "CPU"), FaceAnalysis(plain, "CPU", min_confidence=0.95)
    assert first.session is second.session
    assert len(first.detect(grey(64, 64))) == 1 and second.detect(grey(64, 64)) == []
    other = FaceAnalysis(save_pack(tmp_path / "other", FACES), "CPU")
    assert other.session is not first.session
    before = other.session.key
    save_recogniser(tmp_path / "other" / "w600k_r50.onnx", seed=5)
    assert FaceAnalysis(tmp_path / "other", "CPU").session.key != before


def test_sessions_go_with_their_users(tmp_path):
    face_analysis = FaceAnalysis(save_pack(tmp_path / "p", FACES), "CPU")
    session = weakref.ref(face_analysis.session)
    assert session() is FaceAnalysis(tmp_path / "p", "CPU").session
    del face_analysis
    gc.collect()
    assert session() is None


def test_two_graphs_at_once_load_once_and_get_the_same(plain, t1, monkeypatch):
    """Eight threads open the pack and embed four pictures; each gets what one thread alone gets."""
    pictures = [to_bgr(t1[0, :, 100 * i : 100 * i + 500]) for i in range(4)]
    alone = [FaceAnalysis(plain, "CPU").embed(p, FaceAnalysis(plain, "CPU").detect(p)) for p in pictures]
    analysis.memory.forget()
    gc.collect()
    loaded, results, errors = [], {}, []
    barrier = threading.Barrier(8)

    def work(number):
        try:
            barrier.wait()
            face_analysis = FaceAnalysis(plain, "CPU")
            loaded.append(face_analysis.session)
            results[number] = [face_analysis.embed(p, face_analysis.detect(p)) for p in pictures]
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not errors and len(results) == 8 and len(set(map(id, loaded))) == 1
    assert all(torch.equal(a, b) for result in results.values() for a, b in zip(result, alone, strict=True))


def test_a_provider_that_does_not_start_falls_back_with_one_line(plain, monkeypatch, caplog):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", CPU])
    assert onnx_providers.resolve("auto") == ["CUDAExecutionProvider", CPU]
    with caplog.at_level(logging.WARNING):
        face_analysis = FaceAnalysis(plain, "CUDA")
    assert face_analysis.session.provider == CPU and len(face_analysis.detect(grey(64, 64))) == 1
    assert len(caplog.messages) == 1 and "CUDAExecutionProvider" in caplog.text and "CPU" in caplog.text


def test_a_provider_that_fails_while_loading_falls_back(plain, monkeypatch, caplog):
    from insightface.model_zoo import model_zoo

    load = model_zoo.get_model

    def get_model(name, **options):
        if options["providers"] != [CPU]:
            raise RuntimeError("CUDA driver version is insufficient\nand more lines")
        return load(name, **options)

    monkeypatch.setattr(model_zoo, "get_model", get_model)
    with caplog.at_level(logging.WARNING):
        session = shared_session(open_pack(plain), ["CUDAExecutionProvider", CPU])
    assert session.provider == CPU
    assert [m for m in caplog.messages if "CUDA driver version is insufficient" in m and "\n" not in m]


class FullGpu:
    """A model that loads on the GPU and then finds no memory there."""

    static_input_size = None

    def __init__(self, model):
        self.taskname, self.session = model.taskname, self

    def get_providers(self):
        return ["CUDAExecutionProvider"]

    def detect(self, *_, **__):
        raise RuntimeError("out of memory")


def test_a_provider_that_fails_while_computing_falls_back_once(plain, monkeypatch, caplog):
    from insightface.model_zoo import model_zoo

    load = model_zoo.get_model

    def get_model(name, **options):
        model = load(name, **{**options, "providers": [CPU]})
        return model if options["providers"] == [CPU] else FullGpu(model)

    monkeypatch.setattr(model_zoo, "get_model", get_model)
    session = shared_session(open_pack(plain), ["CUDAExecutionProvider", CPU])
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            boxes, _ = session.detect(grey(64, 64), [(128, 128)], 0.5)
            assert len(boxes) == 1
    assert session.provider == CPU
    assert len([m for m in caplog.messages if "CUDAExecutionProvider failed (out of memory)" in m]) == 1


def test_a_failure_on_the_cpu_is_an_error(plain, monkeypatch):
    from insightface.model_zoo.arcface_onnx import ArcFaceONNX

    session = shared_session(open_pack(plain), [CPU])
    monkeypatch.setattr(ArcFaceONNX, "get", lambda *_: (_ for _ in ()).throw(RuntimeError("bad node")))
    with pytest.raises(BrokenModelPackError, match=r"failed on this picture \(RuntimeError: bad node"):
        session.embed(grey(64, 64), np.zeros((5, 2), np.float32))
