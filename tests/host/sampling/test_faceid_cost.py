"""What FaceID costs: operations and syncs in a UNet call, file reads, and memory."""

import comfy.model_management
import comfy.samplers
import pytest
import torch

import comfy_unets
from counting import counted, live
from facegen.models.identity.adapter_file import AdapterFile
from facegen.models.identity.faceid.adapter import FaceIDAdapter
from faceid_files import CLIP, faceid_state, random_faces, save

REAL_SDXL_WIDTHS = 10 * 640 + 60 * 1280  # channels of the 70 blocks, together

pytestmark = pytest.mark.newest


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def base(request, tmp_path_factory):
    """(model, adapter, call): a ModelPatcher, an adapter for it, and call(patcher, sides) -> a UNet call."""
    folder = tmp_path_factory.mktemp("faceid")
    if request.param == "sd15":
        model, (x, context), y = comfy_unets.sd15(), comfy_unets.inputs(), None
        state = faceid_state(comfy_unets.WIDTHS, clip_dim=CLIP, depth=1)
    else:
        model, given = comfy_unets.sdxl(), comfy_unets.xl_inputs()
        x, context, y = given.x, given.context, given.y
        state = faceid_state(comfy_unets.XL_WIDTHS, 2048, CLIP, depth=1, rank=2)

    def call(patcher, sides=(1, 0), size=8):
        n = len(sides)
        return comfy_unets.caller(patcher, x[:n], context[:n], sides, y=None if y is None else y[:n])

    return model, FaceIDAdapter(save(state, folder / "adapter.safetensors")), call


@pytest.fixture
def apply(base, run):
    def apply(to=None, faces=None, adapter=None, **inputs):
        inputs = {"lora_strength": 0.0, **inputs}
        return run(
            "FaceGenApplyFaceID", model=to or base[0], faceid=adapter or base[1], face_embeds=faces or random_faces(), **inputs
        )[0]

    return apply


@pytest.mark.parametrize("sides", [((1, 0),), ((1,), (0,))], ids=["batched", "alternating"])
def test_a_call_costs_few_operations_and_no_sync(base, apply, sides):
    model, adapter, call = base
    (plain, _), (operations, syncs) = (counted([call(patcher, s) for s in sides]) for patcher in (model, apply()))
    allowed = 200 if adapter.blocks == 16 else 10 * adapter.blocks
    assert 0 < operations - plain <= allowed and syncs == 0


def test_a_mask_costs_no_operation_more(base, apply):
    assert counted([base[2](apply(mask=torch.eye(8)))]) == counted([base[2](apply())])


def test_a_percent_range_costs_one_sync(base, apply):
    assert counted([base[2](apply(end_percent=0.9))])[1] == 1


def test_another_weight_or_s_scale_reads_no_file(base, apply, monkeypatch):
    face_embeds, read, get = random_faces(), [], AdapterFile.__getitem__
    monkeypatch.setattr(AdapterFile, "__getitem__", lambda self, name: read.append(name) or get(self, name))
    apply(faces=face_embeds, lora_strength=1.0)
    read.clear()
    first, second = (
        base[2](apply(faces=face_embeds, lora_strength=0.8, **change))() for change in ({"s_scale": 0.3}, {"weight": 0.5})
    )
    assert read == [] and not torch.equal(first, second)
    apply(faces=random_faces(seed=4))
    assert read


def held(patcher):
    """Bytes of tensors that a model's FaceID patches hold on to, each storage once."""
    slots = patcher.model_options["transformer_options"]["patches_replace"]["attn2"].values()
    tensors = [t for slot in slots for t in slot.identity.tensors()]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def test_memory_held_while_sampling(base, apply):
    """Keys and values, conditional and not, four tokens each, once: below 5 MB for SDXL in fp16, whose width scales it."""
    _, adapter, call = base
    patched = apply()
    call(patched)(), call(patched, (1,))(), call(patched, (0,))()
    in_fp16 = held(patched) / 2
    assert in_fp16 * REAL_SDXL_WIDTHS / sum(adapter.widths) < 5e6
    assert held(patched) == 2 * 2 * 4 * sum(adapter.widths) * 4


def sample(patcher):
    guider = comfy.samplers.CFGGuider(patcher)
    guider.set_conds(*([[torch.full((1, 7, 768), value), {}]] for value in (0.1, 0.2)))
    guider.set_cfg(2.0)
    noise = torch.ones(1, 4, 8, 8)
    guider.sample(noise, noise, comfy.samplers.sampler_object("euler"), torch.tensor([2.0, 1.0, 0.0]), disable_pbar=True)


@pytest.mark.parametrize("base", ["sd15"], indirect=True)
def test_no_growth_over_two_adapters_five_photos_and_running_out_of_memory(base, apply, tmp_path):
    state = faceid_state(comfy_unets.WIDTHS, clip_dim=None, rank=2, seed=5)
    second = FaceIDAdapter(save(state, tmp_path / "second.safetensors"))

    def portrait(seed, out_of_memory=False):
        patched = apply(
            to=apply(faces=random_faces(seed=seed), lora_strength=1.0),
            faces=random_faces(seed=seed + 100),
            adapter=second,
            lora_strength=1.0,
        )
        if out_of_memory:

            def full(*args):
                raise comfy.model_management.OOM_EXCEPTION("out of memory")

            patched.set_model_attn2_output_patch(full)
            with pytest.raises(comfy.model_management.OOM_EXCEPTION):
                sample(patched)
        else:
            sample(patched)
        patched.detach()

    portrait(0), portrait(1, out_of_memory=True)
    before = live()
    for seed in range(2, 7):
        portrait(seed)
    portrait(7, out_of_memory=True)
    assert live() == before
