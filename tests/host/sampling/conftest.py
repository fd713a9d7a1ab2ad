"""An SD1.5 model and an adapter for it, with a face applied by the node."""

import pytest

import comfy_unets
from comfy_sampling import face
from facegen.models.identity.attention import IdentityAttention
from facegen.models.identity.faceid.adapter import FaceIDAdapter
from faceid_files import faceid_state, save


@pytest.fixture(scope="package")
def model():
    return comfy_unets.sd15()


@pytest.fixture(scope="package")
def adapter(tmp_path_factory):
    state = faceid_state(comfy_unets.WIDTHS, clip_dim=None)
    return FaceIDAdapter(save(state, tmp_path_factory.mktemp("faceid") / "adapter.safetensors"))


@pytest.fixture(scope="package")
def apply(run, model, adapter):
    def apply(to=None, faces=None, **inputs):
        inputs = {"lora_strength": 0.0, **inputs}
        return run("FaceGenApplyFaceID", model=to or model, faceid=adapter, face_embeds=faces or face(), **inputs)[0]

    return apply


@pytest.fixture
def sides(monkeypatch):
    """What each call of a block's face took the chunks for."""
    seen, call = [], IdentityAttention.__call__
    monkeypatch.setattr(
        IdentityAttention,
        "__call__",
        lambda self, q, sides, *latents: seen.append(tuple(sides)) or call(self, q, sides, *latents),
    )
    return seen
