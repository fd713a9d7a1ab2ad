"""Adapter files: recognised by their tensors, refused with a clear error when they aren't what they should be."""

import hashlib
import os
import pickle
import re
import time

import pytest
import torch
from safetensors.torch import save_file

from facegen.contract import FIELDS
from facegen.errors import FaceGenError, NotAnAdapterError, UnreadableFileError
from facegen.models.face.embeds import FaceEmbeds
from facegen.models.identity.adapter_file import AdapterFile
from facegen.models.identity.blocks import CrossAttention
from facegen.models.identity.faceid import variant as variant_module
from facegen.models.identity.faceid.adapter import FaceIDAdapter
from faceid_files import faceid_state, random_faces, save

SMALL = {"widths": [32, 64], "inner": 64}


PORTRAIT = {"clip_dim": None, "rank": 0, "tokens": 16}


@pytest.mark.parametrize("ending", ["bin", "pt", "safetensors"])
@pytest.mark.parametrize(
    ("kwargs", "name", "tokens", "clip_dim", "shortcut", "base"),
    [
        ({"clip_dim": 1280}, "faceid-plusv2_sd15", 4, 1280, True, "SD1.5"),
        ({"clip_dim": 1280, "context_dim": 2048, "depth": 1}, "faceid-plusv2_sdxl", 4, 1280, True, "SDXL"),
        ({"clip_dim": None}, "faceid_sd15", 4, None, False, "SD1.5"),
        ({"clip_dim": None, "context_dim": 2048}, "faceid_sdxl", 4, None, False, "SDXL"),
        (PORTRAIT, "faceid-portrait_sd15", 16, None, False, "SD1.5"),
        ({**PORTRAIT, "context_dim": 2048}, "faceid-portrait_sdxl", 16, None, False, "SDXL"),
        ({"unnorm": True, "rank": 0, "context_dim": 2048, "depth": 1}, "faceid-portrait_sdxl_unnorm", 16, None, False, "SDXL"),
    ],
)
def test_variant_is_found_from_the_tensors(tmp_path, ending, kwargs, name, tokens, clip_dim, shortcut, base):
    kwargs = {"inner": 64, **kwargs}
    path = save(faceid_state([32, 64], **kwargs), tmp_path / f"my favourite (1).{ending}")
    adapter = FaceIDAdapter(path)
    variant = adapter.variant
    assert (variant.name, variant.tokens, variant.clip_dim, variant.shortcut) == (name, tokens, clip_dim, shortcut)
    assert variant.base == base and adapter.widths == [32, 64]
    assert variant.raw_identity == ("unnorm" in name)


def test_plus_v1_is_known_by_the_published_files_digest(tmp_path, monkeypatch):
    path = save(faceid_state(**SMALL, clip_dim=80), tmp_path / "plus.bin")
    monkeypatch.setattr(variant_module, "PLUS_V1_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    variant = FaceIDAdapter(path).variant
    assert (variant.name, variant.shortcut) == ("faceid-plus_sd15", False)


def test_an_ip_adapter_for_pictures_is_refused(tmp_path):
    state = faceid_state(**SMALL, unnorm=True, rank=0)
    state["image_proj"]["proj_in.weight"] = torch.zeros(64, 1280)
    path = save(state, tmp_path / "ip-adapter-plus_sd15.safetensors")
    with pytest.raises(
        NotAnAdapterError, match=r"proj_in\.weight of width 1280, as IP-Adapters that read a picture have, in place of 512"
    ):
        FaceIDAdapter(path)


def test_keys_and_values_are_the_published_projections(tmp_path):
    state = faceid_state(**SMALL, clip_dim=None)
    adapter = FaceIDAdapter(save(state, tmp_path / "a.safetensors"))
    face = FaceEmbeds(torch.randn(1, 512))
    tokens = adapter.tokens(face)
    key, value = adapter.keys_values(face)[1]
    assert key.shape == value.shape == (2, 1, 4, 64)
    assert torch.allclose(key[0], tokens[0] @ state["ip_adapter"]["3.to_k_ip.weight"].T, atol=1e-6)
    assert torch.allclose(value[1], tokens[1] @ state["ip_adapter"]["3.to_v_ip.weight"].T, atol=1e-6)


S_SCALE = FIELDS["s_scale"]


@pytest.mark.parametrize("s_scale", [S_SCALE.minimum - 0.01, S_SCALE.maximum + 0.01, float("nan")])
def test_an_s_scale_outside_the_contract_is_refused(tmp_path, s_scale):
    adapter = FaceIDAdapter(save(faceid_state(**SMALL, clip_dim=None), tmp_path / "a.safetensors"))
    with pytest.raises(FaceGenError, match=r"The s_scale field must be .* got"):
        adapter.tokens(FaceEmbeds(torch.ones(1, 512)), s_scale)
    assert adapter.tokens(FaceEmbeds(torch.ones(1, 512)), S_SCALE.maximum)[0].isfinite().all()


def test_the_lora_comes_from_the_same_file(tmp_path):
    state = faceid_state(**SMALL, clip_dim=None, rank=4)
    adapter = FaceIDAdapter(save(state, tmp_path / "a.bin"))
    blocks = [CrossAttention(("a",), "down.0", 32, 4, 0), CrossAttention(("b",), "mid.0", 64, 4, 1)]
    lora = adapter.lora(blocks, "unet.")
    assert len(lora) == 2 * 2 * 4 * 2  # blocks, attentions, projections, sides
    assert torch.equal(lora["unet.down.0.attn1.to_q.lora_up.weight"], state["ip_adapter"]["0.to_q_lora.up.weight"])
    assert torch.equal(lora["unet.mid.0.attn2.to_out.0.lora_down.weight"], state["ip_adapter"]["3.to_out_lora.down.weight"])
    again = adapter.lora(blocks, "unet.")
    assert all(again[name] is lora[name] for name in lora)


def test_only_the_tensors_asked_for_are_read(tmp_path, monkeypatch):
    path = save(faceid_state(**SMALL, clip_dim=None), tmp_path / "a.safetensors")
    read = []
    get = AdapterFile.__getitem__
    monkeypatch.setattr(AdapterFile, "__getitem__", lambda self, name: read.append(name) or get(self, name))
    adapter = FaceIDAdapter(path)
    assert read == []
    face = FaceEmbeds(torch.randn(1, 512))
    adapter.keys_values(face)
    assert read and not any("_lora" in name for name in read)
    projections = [name for name in read if "_ip." in name]
    assert len(projections) == len(set(projections)) == 4  # once each


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, form):
    path, trap = tmp_path / "adapter.bin", tmp_path / "trap"
    if form == "zip":
        torch.save({"image_proj": Evil(trap)}, path)
    else:
        path.write_bytes(pickle.dumps({"image_proj": Evil(trap)}))
    with pytest.raises(UnreadableFileError, match=r"adapter\.bin was refused.*Nothing in it was run"):
        FaceIDAdapter(path)
    assert not trap.exists()
    torch.load(path, weights_only=False) if form == "zip" else pickle.loads(path.read_bytes())
    assert trap.exists()  # it would have done something


@pytest.mark.parametrize("ending", ["bin", "safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated_and_empty_files(tmp_path, ending, share):
    path = save(faceid_state(**SMALL, clip_dim=None), tmp_path / f"adapter.{ending}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    needed = "(a whole copy|The published file or its .safetensors form) is needed"
    with pytest.raises(UnreadableFileError, match=rf"adapter\.{ending}.*{needed}"):
        FaceIDAdapter(path)


@pytest.mark.parametrize("cut", range(10, 700, 23))
def test_legacy_pickles_truncated_anywhere(tmp_path, cut):
    path = tmp_path / "adapter.bin"
    torch.save({"image_proj": {"norm.weight": torch.ones(8)}}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(FaceGenError, match=r"adapter\.bin"):
        FaceIDAdapter(path)


@pytest.mark.parametrize(
    "name",
    [
        "image_proj.norm.bias",
        "image_proj.proj.2.bias",
        "image_proj.perceiver_resampler.norm_out.weight",
        "image_proj.perceiver_resampler.layers.1.0.to_kv.weight",
        "ip_adapter.1.to_v_ip.weight",
        "ip_adapter.1.to_k_ip.weight",
    ],
)
def test_a_file_that_lacks_one_tensor_names_it(tmp_path, name):
    state = faceid_state(**SMALL, clip_dim=64, context_dim=64)
    part, tensor = name.split(".", 1)
    del state[part][tensor]
    with pytest.raises(NotAnAdapterError, match="lacks.*" + re.escape(name)):
        FaceIDAdapter(save(state, tmp_path / "a.safetensors"))


FORMS = {
    "plus": {"clip_dim": 48, "depth": 1},
    "plain": {"clip_dim": None},
    "portrait": {"clip_dim": None, "rank": 0},
    "unnorm": {"unnorm": True, "rank": 0, "depth": 1},
}
# What can be wrong with a tensor that is there.
BENT = {
    "transposed": lambda t: t.T.contiguous(),
    "narrower": lambda t: t[..., :-1].contiguous(),
    "shorter": lambda t: t[:-1].contiguous(),
    "longer": lambda t: torch.cat([t, t[:1]]),
    "empty": lambda t: t[:0],
    "a number": lambda t: t.flatten()[0].clone(),
    "flat": lambda t: t.flatten(),
    "a dimension more": lambda t: t[None].contiguous(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_tensor_of_another_shape_is_told(tmp_path, form):
    """Each tensor bent in each way: refused in words, or, where that fits all the same, projected to numbers."""
    whole = faceid_state([32, 64], 64, **{"inner": 64, "rank": 4, **FORMS[form]})
    blocks = [CrossAttention(("a",), "a", 32, 4, 0), CrossAttention(("b",), "b", 64, 4, 1)]
    told = fitted = 0
    for part, tensors in whole.items():
        for name, tensor in tensors.items():
            for kind, bend in BENT.items():
                bent = bend(tensor)
                if bent.shape == tensor.shape:
                    continue
                state = {**whole, part: {**tensors, name: bent}}
                path = save(state, tmp_path / f"{'a.bin' if (told + fitted) % 2 else 'a.safetensors'}")
                try:
                    adapter = FaceIDAdapter(path)
                except NotAnAdapterError as error:
                    told += 1
                    assert "of the wrong shape" in str(error) or "in place of 512" in str(error), (name, kind, error)
                    continue
                fitted += 1
                adapter.match(blocks, 64)
                face = random_faces(clip=adapter.variant.clip_dim or 48)
                assert all(t.isfinite().all() for pair in adapter.keys_values(face) for t in pair), (name, kind)
                assert all(t.ndim == 2 for t in adapter.lora(blocks).values())
    assert told >= 70 and fitted <= 3, (told, fitted)


def test_half_a_lora_is_told(tmp_path):
    state = faceid_state(**SMALL, clip_dim=None)
    del state["ip_adapter"]["1.to_k_lora.up.weight"]
    with pytest.raises(NotAnAdapterError, match=r"1\.to_k_lora\.down\.weight without ip_adapter\.1\.to_k_lora\.up\.weight"):
        FaceIDAdapter(save(state, tmp_path / "a.bin"))


def test_another_base_is_called_that(tmp_path):
    adapter = FaceIDAdapter(save(faceid_state([32], 96, clip_dim=None, inner=64), tmp_path / "a.bin"))
    with pytest.raises(FaceGenError, match=r"made for another base \(1 cross-attention blocks.*the model is SD1\.5 \(0 blocks"):
        adapter.match([], 768)


@pytest.mark.parametrize("ending", ["bin", "safetensors"])
def test_html_saved_as_a_model(tmp_path, ending):
    path = tmp_path / f"adapter.{ending}"
    path.write_text("<!DOCTYPE html><html><title>Sign in</title></html>")
    with pytest.raises(UnreadableFileError, match=rf"adapter\.{ending}"):
        FaceIDAdapter(path)


def test_other_model_files_say_what_they_lack_and_hold(tmp_path):
    path = tmp_path / "lora.safetensors"
    save_file({"lora_unet_mid.alpha": torch.ones(1), "lora_unet_mid.lora_up.weight": torch.ones(2, 2)}, path)
    with pytest.raises(
        NotAnAdapterError, match=r"not a FaceID adapter.*lacks image_proj\.proj\.0\.weight.*lora_unet_mid\.alpha"
    ):
        FaceIDAdapter(path)


def shared(depth):
    """One dictionary in two places of the next, `depth` times: a few hundred bytes that unfold to 2 ** depth tensors."""
    state = {"weight": torch.zeros(1)}
    for _ in range(depth):
        state = {"a": state, "b": state}
    return state


def endless():
    state = {"weight": torch.zeros(1)}
    state["more"] = state
    return state


def deep():
    state = {"weight": torch.zeros(1)}
    for _ in range(250):
        state = {"more": state}
    return state


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: shared(40), "nested in each other"),
        (endless, "nested in each other"),
        (deep, "nested in each other"),
        (lambda: {"ip_adapter": {"1.to_k_ip.weight": torch.zeros(1).expand(10**6, 10**6)}}, "more numbers than there are"),
    ],
    ids=["shared", "endless", "deep", "expanded"],
)
def test_small_files_that_unfold(tmp_path, make, says):
    torch.save(make(), tmp_path / "faceid.bin")
    began = time.process_time()
    with pytest.raises(UnreadableFileError, match=f"(?s)faceid.bin.*can't be read.*({says})"):
        AdapterFile(tmp_path / "faceid.bin")
    assert (tmp_path / "faceid.bin").stat().st_size < 40_000 and time.process_time() - began < 10


def test_a_list_instead_of_tensors(tmp_path):
    torch.save([1, 2, 3], tmp_path / "list.bin")
    with pytest.raises(NotAnAdapterError, match="not a FaceID adapter.*holds 0 tensors"):
        FaceIDAdapter(tmp_path / "list.bin")


def test_a_missing_file(tmp_path):
    with pytest.raises(UnreadableFileError, match=r"no adapter file .*nowhere\.bin"):
        FaceIDAdapter(tmp_path / "nowhere.bin")


def test_embeddings_must_be_finite_and_consistent():
    with pytest.raises(FaceGenError, match="NaN"):
        FaceEmbeds(torch.full((1, 512), float("nan")))
    with pytest.raises(FaceGenError, match=r"\[512\]"):
        FaceEmbeds(torch.zeros(512))
    with pytest.raises(FaceGenError, match="belong together"):
        FaceEmbeds(torch.ones(1, 512), torch.ones(1, 257, 8))
