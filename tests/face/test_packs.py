"""Model packs, known by what is in their files."""

import json
import random
import shutil
import time
from dataclasses import replace

import numpy as np
import onnx
import pytest

from facegen.errors import BrokenModelPackError
from facegen.models.face.analysis import FaceAnalysis
from facegen.models.face.packs.catalogue import CATALOGUE, RECOGNISERS
from facegen.models.face.packs.find import find_packs, missing_pack_message, open_pack, role
from facegen.models.face.packs.onnx_signature import read_signature
from onnx_files import FACES, save_detector, save_pack, save_recogniser

GREY = np.full((64, 64, 3), 128, np.uint8)


def save_other(path, inputs, outputs):
    """A graph without nodes to speak of: inputs pass through, as far as there are outputs."""
    infos = [onnx.helper.make_tensor_value_info(f"i{n}", 1, shape) for n, shape in enumerate(inputs)]
    results = [onnx.helper.make_tensor_value_info(f"o{n}", 1, shape) for n, shape in enumerate(outputs)]
    nodes = [onnx.helper.make_node("Identity", ["i0"], [f"o{n}"]) for n in range(len(outputs))]
    weights = onnx.numpy_helper.from_array(np.zeros(100_000, np.float32), "weights")
    graph = onnx.helper.make_graph(nodes, "g", infos, results, [weights])
    # As files from before IR version 4 have it: the constant stands among the inputs, too.
    graph.input.insert(0, onnx.helper.make_tensor_value_info("weights", 1, [100_000]))
    onnx.save(onnx.helper.make_model(graph), path)
    return path


def test_signature_equals_onnx(pack):
    for file in pack.glob("*.onnx"):
        graph = onnx.load(file).graph
        for ours, theirs in ((read_signature(file).inputs, graph.input), (read_signature(file).outputs, graph.output)):
            assert ours == tuple(tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in theirs)


@pytest.mark.parametrize(
    ("inputs", "outputs", "kind"),
    [
        ([[1, 3, 112, 112]], [[1, 512]], "recogniser"),
        ([[0, 3, 128, 128]], [[0, 512]], "recogniser"),
        ([[1, 3, 192, 192]], [[1, 212]], "other"),
        ([[1, 3, 96, 96]], [[1, 3]], "other"),
        ([[1, 3, 128, 128], [1, 512]], [[1, 3, 128, 128]], "other"),
        ([[1, 3, 512, 512]], [[1, 3, 512, 512]], "other"),
        ([[1, 3, 640, 640]], [[800, 1]] * 9, "detector"),
        ([[1, 3, 640, 640]], [[800, 1]] * 6, "detector without key points"),
    ],
)
def test_roles(tmp_path, inputs, outputs, kind):
    """InsightFace's other models (landmarks, age, swapper) and restorers that lie about are not taken for one."""
    assert role(save_other(tmp_path / "model.onnx", inputs, outputs)) == kind


@pytest.mark.parametrize("filling", [b"\0", b"\x08\0", b"\x0a\0", b"\x3a\0"], ids=["zeros", "numbers", "texts", "graphs"])
@pytest.mark.parametrize("whole", [0, 30_000], ids=["from the start", "from the middle"])
def test_what_is_not_there_yet_holds_nothing_up(tmp_path, filling, whole):
    """A download that reserved its place: the beginning is right, and zeros follow, or what was written to look like more."""
    pack = save_pack(tmp_path / "models" / "p", FACES)
    file = pack / "w600k_r50.onnx"
    content, size = file.read_bytes()[:whole], 40_000_000
    file.write_bytes(content + filling * ((size - whole) // len(filling)))
    began = time.process_time()
    assert find_packs([str(tmp_path)]) == {} and role(file) in ("unreadable", "other")
    assert time.process_time() - began < 10


def test_a_name_as_long_as_a_file(tmp_path):
    length = b"\x80\x80\x80\x01"  # 2 MiB, in each of two levels
    name = b"\x0a" + length + bytes(1 << 21)
    value = b"\x5a" + b"\x85\x80\x80\x01" + name
    (tmp_path / "m.onnx").write_bytes(b"\x3a" + b"\x8a\x80\x80\x01" + value)
    with pytest.raises(ValueError, match="a name of 2097152 bytes"):
        read_signature(tmp_path / "m.onnx")


def test_a_manifest_nested_without_end(tmp_path):
    pack = save_pack(tmp_path / "models" / "p", FACES)
    (pack / "manifest.json").write_text("[" * 200_000)
    assert list(find_packs([str(tmp_path)])) == ["p"]


def test_packs_of_all_kinds_are_found(tmp_path):
    models = tmp_path / "models"
    save_pack(models / "buffalo_l", FACES)
    save_pack(models / "antelopev2" / "antelopev2", FACES)
    save_manifest_pack(models / "raccoon_l")
    aura = models / "auraface"
    aura.mkdir()
    save_detector(aura / "scrfd_10g_bnkps.onnx", FACES)
    save_recogniser(aura / "glintr100.onnx")
    save_other(aura / "1k3d68.onnx", [[1, 3, 192, 192]], [[1, 3309]])
    (models / "empty").mkdir()
    (models / "only detector").mkdir()
    save_detector(models / "only detector" / "det.onnx", FACES)
    (models / "broken").mkdir()
    (models / "broken" / "a.onnx").write_bytes(b"<html>")
    (models / "broken" / "b.onnx").write_bytes(b"")
    save_recogniser(models / "inswapper_128.onnx")
    packs = find_packs([str(tmp_path), str(tmp_path / "nowhere")])
    assert packs == {
        "antelopev2": models / "antelopev2" / "antelopev2",
        "auraface": aura,
        "buffalo_l": models / "buffalo_l",
        "raccoon_l": models / "raccoon_l",
    }
    for name, recogniser in (("antelopev2", "w600k_r50"), ("auraface", "glintr100"), ("raccoon_l", "recognizer")):
        face_analysis = FaceAnalysis(models / name)  # the folder in models will do, too
        assert face_analysis.recogniser == recogniser and len(face_analysis.detect(GREY)) == 3


def test_auraface_s_recogniser_is_told_from_antelopev2_s_by_its_size(tmp_path, monkeypatch):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        save_detector(tmp_path / name / "scrfd_10g_bnkps.onnx", FACES)
        save_recogniser(tmp_path / name / "glintr100.onnx")
    published = tmp_path / "other" / "glintr100.onnx"
    pack = CATALOGUE["auraface"]
    assert [size for name, size in (pack.models[1], CATALOGUE["antelopev2"].models[1])] == [260_694_151, 260_665_334]
    published.write_bytes(published.read_bytes() + b"\x32\x00")  # an empty field more
    known = replace(pack, models=(pack.models[0], ("glintr100.onnx", published.stat().st_size)))
    monkeypatch.setitem(CATALOGUE, "auraface", known)
    assert open_pack(tmp_path / "one").recogniser_name == "glintr100"
    assert FaceAnalysis(tmp_path / "other").recogniser == "glintr100-auraface" and "glintr100-auraface" in RECOGNISERS


def save_manifest_pack(folder):
    """As InsightFace 2 has it: a manifest that names the files, here in a subfolder, and how pictures are prepared."""
    (folder / "files").mkdir(parents=True)
    save_detector(folder / "files" / "detector.onnx", FACES)
    save_recogniser(folder / "files" / "recognizer.onnx")
    tasks = {"detection": {"file": "files/detector.onnx"}, "recognition": {"file": "files/recognizer.onnx"}}
    manifest = {"manifest_version": 2, "model_id": folder.name, "license": "MODEL.LICENSE", "tasks": tasks}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_manifest_pack_gives_insightface_numbers(tmp_path, astronaut):
    import insightface.app

    save_manifest_pack(tmp_path / "raccoon_l")
    app = insightface.app.FaceAnalysis(str(tmp_path / "raccoon_l"), allowed_modules=["detection", "recognition"])
    app.prepare(ctx_id=-1)
    bgr = (astronaut[0].numpy() * 255).round().astype(np.uint8)[..., ::-1].copy()
    theirs = app.get(bgr)
    face_analysis = FaceAnalysis(tmp_path / "raccoon_l", "CPU")
    ours = face_analysis.detect(bgr)
    for face, identity, other in zip(ours, face_analysis.embed(bgr, ours), theirs, strict=True):
        assert np.array_equal(face.bbox, other.bbox) and np.array_equal(identity.numpy(), other.embedding)
    assert len(ours) == 3


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_missing_pack_is_explained_in_one_line(tmp_path, name):
    text = missing_pack_message(name, [str(tmp_path)])
    assert str(tmp_path / "models" / name) in text and CATALOGUE[name].source in text
    assert all(file in text for file, _ in CATALOGUE[name].models) and CATALOGUE[name].licence in text
    assert "\n" not in text and len(text) < 700


def test_a_missing_pack_says_what_is_there_instead(tmp_path):
    folder = tmp_path / "models" / "buffalo_l"
    folder.mkdir(parents=True)
    save_detector(folder / "det_10g.onnx", FACES)
    (folder / "w600k_r50.onnx").write_text("<html>")
    text = missing_pack_message("buffalo_l", [str(tmp_path)])
    assert "det_10g.onnx (detector), w600k_r50.onnx (unreadable)" in text
    with pytest.raises(BrokenModelPackError, match=r"w600k_r50.onnx \(unreadable\)"):
        open_pack(folder)
    assert "source" not in missing_pack_message("mine", ["x"])  # there is nothing to download under that name


def corrupted(data: bytes, seed: int) -> bytes:
    dice = random.Random(seed)
    kind = seed % 5
    if kind == 0:
        return data[: dice.randrange(len(data))]
    if kind == 1:
        return dice.randbytes(dice.randrange(1, 5000))
    broken = bytearray(data)
    places = range(len(data)) if kind == 2 else range(min(2000, len(data)))
    for _ in range(1 if kind == 3 else 40):
        broken[dice.choice(places)] = dice.randrange(256)
    return bytes(broken) if kind != 4 else data[:100] + bytes(broken)


@pytest.mark.parametrize("first", range(0, 50, 10))
def test_fifty_corrupted_packs(pack, tmp_path, first):
    """Each is refused with a clear error or, where the damage lies in a weight, works; nothing else comes out."""
    refused = 0
    for seed in range(first, first + 10):
        folder = tmp_path / f"pack{seed}"
        shutil.copytree(pack, folder)
        file = folder / ("det_10g.onnx" if seed % 2 else "w600k_r50.onnx")
        file.write_bytes(corrupted(file.read_bytes(), seed))
        before = sorted(f.name for f in folder.iterdir())
        try:
            face_analysis = FaceAnalysis(folder, "CPU")
            faces = face_analysis.detect(GREY)
            if faces:
                face_analysis.embed(GREY, faces)
        except BrokenModelPackError as error:
            refused += 1
            assert str(folder) in str(error) and len(str(error)) < 1000
        assert sorted(f.name for f in folder.iterdir()) == before
    assert refused >= 5
