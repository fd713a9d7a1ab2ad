"""PuLID files: recognised by their tensors, refused with a clear error when they or the faces aren't what they should be."""

import re
from dataclasses import replace

import pytest
import torch

from facegen.errors import MissingStructureError, NotAnAdapterError, WrongBaseModelError, WrongRecogniserError
from facegen.models.identity.adapter_file import AdapterFile
from facegen.models.identity.blocks import CrossAttention
from facegen.models.identity.pulid.adapter import PulidAdapter
from faceid_files import faceid_state, random_faces
from faceid_files import save as save_faceid
from pulid_files import CONTEXT, FLUX_WIDTH, flux_state, save, sdxl_state, seen_faces

WIDTHS = [64, 128]
BLOCKS = [CrossAttention(("a",), "down.0", 64, 4, 0), CrossAttention(("b",), "mid.0", 128, 4, 1)]
FORMS = {
    "v1.1": lambda: sdxl_state(WIDTHS, depth=5),
    "v1": lambda: sdxl_state(WIDTHS, v1=True),
    "flux": lambda: flux_state(2, depth=5),
}


def opened(form, tmp_path, ending="safetensors"):
    return PulidAdapter(save(FORMS[form](), tmp_path / f"my favourite (1).{ending}"))


@pytest.mark.parametrize("ending", ["bin", "safetensors"])
@pytest.mark.parametrize(
    ("form", "name", "base", "tokens"),
    [("v1.1", "pulid_v1.1", "SDXL", 32), ("v1", "pulid_v1", "SDXL", 10), ("flux", "pulid_flux", "FLUX.1", 32)],
)
def test_the_kind_is_found_from_the_tensors(tmp_path, form, name, base, tokens, ending):
    variant = opened(form, tmp_path, ending).variant
    assert (variant.name, variant.tokens, variant.context_dim) == (name, tokens, CONTEXT)
    assert (variant.pooled, variant.states) == (40, 48)
    assert replace(variant, context_dim=2048).base == base


def renamed(state):
    """v1 with IP-Adapter's names, as it was published for ComfyUI's PuLID pack."""
    names = {"id_adapter_attn_layers.": "ip_adapter.", "id_adapter.": "image_proj.", "id_to_": "to_"}
    found = {}
    for name, tensor in state.items():
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        found[re.sub(r"(to_[kv])\.weight$", r"\1_ip.weight", name)] = tensor
    return found


def test_v1_with_the_names_of_ip_adapters(tmp_path):
    state = FORMS["v1"]()
    one, other = (PulidAdapter(save(each, tmp_path / f"{len(each)}.{i}.bin")) for i, each in enumerate((state, renamed(state))))
    assert "ip_adapter.3.to_v_ip.weight" in other.file and "image_proj.mapping_patch_4.6.weight" in other.file
    assert other.variant.name == "pulid_v1" and other.widths == WIDTHS
    faces = seen_faces()
    assert all(torch.equal(a, b) for a, b in zip(one.tokens(faces), other.tokens(faces), strict=True))
    pairs = zip(one.keys_values(faces), other.keys_values(faces), strict=True)
    assert all(torch.equal(a, b) for mine, theirs in pairs for a, b in zip(mine, theirs, strict=True))
    lacking = {name: tensor for name, tensor in renamed(state).items() if name != "ip_adapter.3.to_v_ip.weight"}
    with pytest.raises(NotAnAdapterError, match="it lacks ip_adapter.3.to_v_ip.weight"):
        PulidAdapter(save(lacking, tmp_path / "lacking.bin"))


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("v1.1", "id_adapter.latents"),
        ("v1.1", "id_adapter.proj_out"),
        ("v1.1", "id_adapter.mapping_3.4.bias"),
        ("v1.1", "id_adapter.layers.4.1.3.weight"),
        ("v1.1", "id_adapter_attn_layers.1.id_to_k.weight"),
        ("v1.1", "id_adapter_attn_layers.3.id_to_v.weight"),
        ("v1", "id_adapter.mapping_patch_4.6.weight"),
        ("flux", "pulid_ca.1.norm2.weight"),
        ("flux", "pulid_ca.0.to_kv.weight"),
        ("flux", "pulid_encoder.id_embedding_mapping.0.weight"),
    ],
)
def test_a_file_that_lacks_one_tensor_names_it(tmp_path, form, name):
    state = FORMS[form]()
    del state[name]
    with pytest.raises(NotAnAdapterError, match="not a PuLID adapter: it lacks.*" + re.escape(name)):
        PulidAdapter(save(state, tmp_path / "a.safetensors"))


# What can be wrong with a tensor that is there.
BENT = {
    "transposed": lambda t: t.mT.contiguous() if t.ndim > 1 else t,
    "narrower": lambda t: t[..., :-1].contiguous(),
    "longer": lambda t: torch.cat([t, t[:1]]),
    "empty": lambda t: t[:0],
    "flat": lambda t: t.flatten(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_tensor_of_another_shape_is_told(tmp_path, form):
    """Each tensor bent in each way: refused in words, or, where that fits all the same, projected to numbers."""
    whole = FORMS[form]()
    told = fitted = 0
    for name, tensor in whole.items():
        if re.search(r"(mapping|patch)_[1-4]|layers\.[1-4]\.\d", name):
            continue  # as the first of their kind
        for kind, bend in BENT.items():
            bent = bend(tensor)
            if bent.shape == tensor.shape:
                continue
            path = save({**whole, name: bent}, tmp_path / "a.bin")
            try:
                adapter = PulidAdapter(path)
            except NotAnAdapterError as error:
                told += 1
                assert "of the wrong shape" in str(error), (name, kind, error)
                continue
            fitted += 1
            faces = seen_faces(states=adapter.variant.states, pooled=adapter.variant.pooled)
            assert all(t.isfinite().all() for pair in adapter.keys_values(faces) for t in pair), (name, kind)
    assert told >= 40 and fitted <= 5, (told, fitted)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pulid_ca.0.to_kv.weight": torch.zeros(500, CONTEXT)}, r"keys and values of 500 channels, needed 512"),
        ({f"pulid_ca.{i}.to_q.weight": torch.zeros(100, FLUX_WIDTH) for i in range(2)}, "of the wrong shape"),
    ],
)
def test_sizes_that_only_fail_together(tmp_path, change, says):
    state = FORMS["flux"]() | change
    if "pulid_ca.0.to_kv.weight" in change:
        state["pulid_ca.1.to_kv.weight"] = torch.zeros(500, CONTEXT)
    with pytest.raises(NotAnAdapterError, match=says):
        PulidAdapter(save(state, tmp_path / "a.bin"))


def test_layers_that_the_scales_cant_share(tmp_path):
    with pytest.raises(NotAnAdapterError, match="7 layers, needed a multiple of 5"):
        PulidAdapter(save(sdxl_state(WIDTHS, depth=7), tmp_path / "a.bin"))


def test_other_files_say_what_they_lack_and_hold(tmp_path):
    path = save_faceid(faceid_state([32, 64], clip_dim=None, inner=64), tmp_path / "faceid.safetensors")
    with pytest.raises(NotAnAdapterError, match=r"neither of PuLID's encoders.*holds .* tensors: image_proj\.norm\.bias"):
        PulidAdapter(path)


def test_only_the_tensors_asked_for_are_read(tmp_path, monkeypatch):
    path = save(FORMS["flux"](), tmp_path / "a.safetensors")
    read = []
    get = AdapterFile.__getitem__
    monkeypatch.setattr(AdapterFile, "__getitem__", lambda self, name: read.append(name) or get(self, name))
    adapter = PulidAdapter(path)
    assert read == []
    faces = seen_faces()
    adapter.keys_values(faces)
    assert read and not any(".to_q." in name for name in read if name.startswith("pulid_ca."))
    del read[:]
    adapter.keys_values(faces)
    assert read == []  # known for as long as the face lives


def test_a_unet_that_it_was_made_for_and_others(tmp_path):
    adapter = opened("v1.1", tmp_path)
    adapter.match(BLOCKS, CONTEXT)
    with pytest.raises(WrongBaseModelError, match=r"a pulid_v1\.1 adapter.*\(2 cross-attention.*model is SD1\.5 \(1 blocks"):
        adapter.match(BLOCKS[:1], 768)
    with pytest.raises(
        WrongBaseModelError, match=r"made for.*but the model is FLUX with 3 double and 2 single blocks of width 64"
    ):
        adapter.match_flux(64, 3, 2)


def test_a_flux_model_that_it_was_made_for_and_others(tmp_path):
    adapter = opened("flux", tmp_path)
    assert adapter.match_flux(FLUX_WIDTH, 2, 3) == [("double", 0), ("single", 0)]
    for width, double, single in ((FLUX_WIDTH, 3, 4), (2 * FLUX_WIDTH, 2, 3), (FLUX_WIDTH, 0, 3)):
        with pytest.raises(
            WrongBaseModelError, match=r"made for FLUX\.1 \(2 layers beside blocks of width 64\), but the model is"
        ):
            adapter.match_flux(width, double, single)
    with pytest.raises(WrongBaseModelError, match=r"made for FLUX\.1.*but the model is a UNet \(2 cross-attention blocks"):
        adapter.match(BLOCKS, CONTEXT)


def test_faces_of_another_recogniser(tmp_path):
    adapter = opened("v1.1", tmp_path)
    faces = replace(seen_faces(), faces=({"recogniser": "w600k_r50", "model_pack": "buffalo_l"},))
    with pytest.raises(
        WrongRecogniserError, match=r"w600k_r50 \(model pack buffalo_l\), but glintr100 \(model pack antelopev2\)"
    ):
        adapter.tokens(faces)


def test_faces_without_structure_or_with_that_of_another_tower(tmp_path):
    adapter = opened("flux", tmp_path)
    with pytest.raises(
        MissingStructureError, match=r"pulid_flux.*embedded without it\. It needs the vision tower EVA02-CLIP-L"
    ):
        adapter.keys_values(random_faces(clip=None))
    for other in ({"pooled": 41}, {"states": 49}):
        with pytest.raises(MissingStructureError, match=r"output 40, 5 states of width 48.*another one"):
            adapter.tokens(seen_faces(**other))
