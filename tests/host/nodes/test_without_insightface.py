"""A ComfyUI whose InsightFace can't be imported: the pack is there, and only what finds faces asks for it."""

import sys

import pytest

from facegen.errors import FaceGenError


@pytest.fixture
def no_insightface(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "insightface"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "insightface", None)
    monkeypatch.setitem(sys.modules, "insightface.app", None)


def test_other_nodes_work_and_the_face_analysis_says_how_to_install_it(run, no_insightface, pack_nodes, astronaut):
    for node in pack_nodes.values():
        schema = node.define_schema()
        assert schema.inputs or schema.outputs
    for name, inputs in (("FaceGenLoadFaceAnalyzer", {"model_pack": "buffalo_l"}), ("FaceGenLoadTinyModel", {})):
        with pytest.raises(FaceGenError, match=r'pip install "insightface>=2\.1"'):
            run(name, **inputs)
    assert run("FaceGenStyle", style="anime", prompt="a pilot")[1]
    assert run("FaceGenLoadFaceID", faceid_file="ip-adapter-faceid-plusv2_sd15.bin")[0].variant.name == "faceid-plusv2_sd15"
    checker = run("FaceGenLoadSafetyChecker", checker="nudenet")[0]
    image, *_ = run("FaceGenSafetyFilter", image=astronaut, safety_checker=checker)
    assert image.shape == astronaut.shape
