"""FaceID on ComfyUI's own UNets, at SD1.5's and SDXL's real topologies, against diffusers."""

import functools

import pytest
import torch

import comfy_unets
from facegen.models.identity.faceid.adapter import FaceIDAdapter
from faceid_files import CLIP, PLUS_V1_NOTE, faceid_state, random_faces, relative_error, save

PORTRAIT = {"clip_dim": None, "rank": 0, "tokens": 16}
XL = {"context_dim": 2048, "rank": 4}
# published file -> what its tensors are like
VARIANTS = {
    "faceid_sd15": {"clip_dim": None},
    "faceid-plus_sd15": {"clip_dim": CLIP},
    "faceid-plusv2_sd15": {"clip_dim": CLIP},
    "faceid-portrait_sd15": PORTRAIT,  # portrait-v11_sd15 is the same but for the numbers
    "faceid-plusv2_sdxl": {**XL, "clip_dim": CLIP},
    "faceid-portrait_sdxl": {**PORTRAIT, "context_dim": 2048},
    "faceid-portrait_sdxl_unnorm": {"context_dim": 2048, "unnorm": True, "rank": 0},
    "faceid_sdxl": {**XL, "clip_dim": None},
}


@functools.cache
def base(xl):
    """(model, what it is called with, what it predicts without a face), for all variants."""
    model = comfy_unets.sdxl() if xl else comfy_unets.sd15()
    given = comfy_unets.xl_inputs() if xl else comfy_unets.Inputs(*comfy_unets.inputs())
    return model, given, comfy_unets.predict(model, given.x, given.context, y=given.y)


class Case:
    """One variant on its UNet: ours, and the oracle's."""

    def __init__(self, name, folder):
        self.xl = "sdxl" in name
        self.build = comfy_unets.sdxl if self.xl else comfy_unets.sd15
        self.model, self.given, self.plain = base(self.xl)
        self.state = faceid_state(comfy_unets.XL_WIDTHS if self.xl else comfy_unets.WIDTHS, **VARIANTS[name])
        note = PLUS_V1_NOTE if name == "faceid-plus_sd15" else None
        self.adapter = FaceIDAdapter(save(self.state, folder / "any name.safetensors", note))
        self.oracle = comfy_unets.Diffusers(self.model, self.state, shortcut="plusv2" in name)

    def apply(self, run, faces, model=None, **settings):
        return run("FaceGenApplyFaceID", model=model or self.model, faceid=self.adapter, face_embeds=faces, **settings)[0]

    def predict(self, patcher):
        return comfy_unets.predict(patcher, self.given.x, self.given.context, y=self.given.y)


@pytest.fixture(scope="module")
def built():
    """All SD1.5 cases that were made, and the last SDXL one, which takes seconds to make and a gigabyte to keep; by name."""
    yield {}
    base.cache_clear()


@pytest.fixture
def case(request, built, tmp_path_factory):
    if request.param not in built:
        for name in [name for name in built if "sdxl" in name and "sdxl" in request.param]:
            del built[name]
        built[request.param] = Case(request.param, tmp_path_factory.mktemp("faceid"))
        assert built[request.param].adapter.variant.name == request.param
    return built[request.param]


# Faces, s_scale and strength of the LoRA act on their own. On SD1.5 each value of one meets each of another, but for half a
# LoRA, which is there at s_scale 1; on SDXL, where each combination takes seconds, each value is there.
SOME = {
    "faceid-plusv2_sd15": [
        *[(1, 0.0, 0.0), (1, 1.0, 0.5), (1, 1.0, 1.0), (1, 2.0, 1.0)],
        *[(2, 0.0, 1.0), (2, 1.0, 0.0), (2, 1.0, 0.5), (2, 2.0, 0.0)],
    ],
    "faceid-plusv2_sdxl": [(1, 0.0, 0.5), (1, 1.0, 0.0), (2, 2.0, 1.0)],
    "faceid_sdxl": [(1, 1.0, 0.0), (2, 1.0, 1.0)],
}


def cases():
    """Every variant with one and two faces, its LoRA off and on if it has one, and s_scale where it acts."""
    for name, kind in VARIANTS.items():
        if name in SOME:
            yield from ((name, *settings) for settings in SOME[name])
            continue
        for faces in (1, 2):
            for lora_strength in (1.0,) if kind.get("rank") == 0 else (0.0, 0.5, 1.0):
                yield name, faces, 1.0, lora_strength


def chosen():
    """Of each variant, two faces with its whole LoRA in every ComfyUI; the others ask nothing more of one."""
    made, met = [], set()
    for name, faces, s_scale, lora_strength in cases():
        everywhere = faces == 2 and lora_strength == 1 and name not in met
        met |= {name} if everywhere else set()
        made.append(pytest.param(name, faces, s_scale, lora_strength, marks=[] if everywhere else pytest.mark.newest))
    return made


@pytest.mark.parametrize(("case", "faces", "s_scale", "lora_strength"), chosen(), indirect=["case"])
def test_unet_equals_diffusers(case, run, faces, s_scale, lora_strength):
    people = random_faces(faces)
    settings = {"weight": 0.8, "s_scale": s_scale, "lora_strength": lora_strength}
    patched = case.apply(run, people, **settings)
    slots = patched.model_options["transformer_options"]["patches_replace"]["attn2"]
    assert sorted(slots) == sorted(comfy_unets.XL_BLOCKS if case.xl else comfy_unets.BLOCKS)
    given = case.predict(patched)
    expected = case.oracle.predict(people, case.given, **settings)
    assert relative_error(case.plain, expected) > 0.02  # FaceID does something here
    for side in (0, 1):
        assert relative_error(given[side], expected[side]) < 1e-4


# On a CPU half precision is slow: of SDXL, the blocks, in the type it is used in; Plus' projection is that of SD1.5.
HALF = [
    ("faceid-plusv2_sd15", torch.float16),
    ("faceid-plusv2_sd15", torch.bfloat16),
    ("faceid_sdxl", torch.float16),
]


@pytest.mark.newest
@pytest.mark.parametrize(("case", "dtype"), HALF, indirect=["case"])
def test_half_precision_is_as_near_as_diffusers(case, run, dtype):
    people, model = random_faces(2), case.build(dtype=dtype)
    exact = case.oracle.predict(people, case.given, weight=0.8)
    theirs = comfy_unets.Diffusers(model, case.state, dtype=dtype).predict(people, case.given, weight=0.8)
    ours = case.predict(case.apply(run, people, model, weight=0.8))
    assert ours.dtype == dtype and ours.isfinite().all()
    assert relative_error(ours, exact) < 2 * relative_error(theirs, exact)


without = pytest.mark.parametrize("case", ["faceid_sd15", "faceid-plus_sd15", "faceid-portrait_sdxl_unnorm"], indirect=True)


@pytest.mark.newest
@without
def test_s_scale_is_said_to_have_no_effect(case, run, caplog):
    one, two = (case.apply(run, random_faces(), s_scale=s) for s in (1.0, 2.0))
    assert [
        r.getMessage() for r in caplog.records if "s_scale 2 has no effect" in r.getMessage() and "any name" in r.getMessage()
    ]
    assert torch.equal(case.predict(one), case.predict(two))
