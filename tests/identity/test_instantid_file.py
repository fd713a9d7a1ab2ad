"""InstantID files: which they are, and what comes out of them."""

import re

import pytest
import torch
from diffusers.models.embeddings import IPAdapterPlusImageProjection

from facegen.errors import NotAnAdapterError, WrongBaseModelError, WrongRecogniserError
from facegen.models.identity import raw_embedding
from facegen.models.identity.adapter_file import AdapterFile
from facegen.models.identity.blocks import CrossAttention
from facegen.models.identity.faceid.adapter import FaceIDAdapter
from facegen.models.identity.instantid.adapter import InstantIDAdapter
from faceid_files import SD15_WIDTHS, faceid_state, random_faces, relative_error, save

WIDTHS = [64, 128]
BLOCKS = [CrossAttention((i,), f"block.{i}", width, 2, i) for i, width in enumerate(WIDTHS)]
DEPTH, CONTEXT, HEADS, TOKENS = 4, 96, 2, 16
INNER = 64 * HEADS
NAMES_IN_DIFFUSERS = {  # within a layer
    "0.norm1": "ln0",
    "0.norm2": "ln1",
    "0.to_q": "attn.to_q",
    "0.to_out": "attn.to_out.0",
    "1.0": "ff.0",
    "1.1": "ff.1.net.0.proj",
    "1.3": "ff.1.net.2",
}
TRAINED_ON = {"recogniser": "glintr100", "model_pack": "antelopev2"}


def state(**changes):
    return faceid_state(WIDTHS, CONTEXT, rank=0, unnorm=True, depth=DEPTH, inner=INNER, **changes)


@pytest.fixture(params=["safetensors", "bin"])
def adapter(request, tmp_path):
    return InstantIDAdapter(save(state(), tmp_path / f"any name.{request.param}"))


def people(n=1, **kwargs):
    return random_faces(n, clip=None, faces=(TRAINED_ON,) * n, **kwargs)


def published_tokens(identity):
    """diffusers' projection, which has other names for the same tensors."""
    network = IPAdapterPlusImageProjection(
        embed_dims=512, output_dims=CONTEXT, hidden_dims=INNER, depth=DEPTH, dim_head=64, heads=HEADS, num_queries=TOKENS
    )
    ours = state()["image_proj"]
    named = {}
    for name, tensor in ours.items():
        for part, theirs in NAMES_IN_DIFFUSERS.items():
            name = re.sub(rf"^(layers\.\d+)\.{re.escape(part)}\.", rf"\1.{theirs}.", name)
        if ".to_kv." not in name:
            named[name] = tensor
    for layer in range(DEPTH):
        key, value = ours[f"layers.{layer}.0.to_kv.weight"].chunk(2)
        named |= {f"layers.{layer}.attn.to_k.weight": key, f"layers.{layer}.attn.to_v.weight": value}
    network.load_state_dict(named)
    with torch.no_grad():
        return network(identity[:, None])


def test_tokens_are_those_of_diffusers_on_both_sides(adapter):
    face = people()
    cond, uncond = adapter.tokens(face)
    assert cond.shape == uncond.shape == (1, TOKENS, CONTEXT)
    assert relative_error(cond, published_tokens(face.identity)) < 1e-5
    zeros = published_tokens(torch.zeros(1, 512))
    assert relative_error(uncond, zeros) < 1e-5 and zeros.abs().max() > 0.1


def test_the_embedding_is_read_as_it_comes(adapter):
    face = people()
    twice = random_faces(1, clip=None, faces=(TRAINED_ON,))
    object.__setattr__(twice, "identity", 2 * face.identity)
    assert relative_error(adapter.tokens(twice)[0], adapter.tokens(face)[0]) > 0.01


def test_keys_and_values_are_the_tokens_times_the_file_s_matrices(adapter):
    face, matrices = people(), state()["ip_adapter"]
    tokens = torch.stack(adapter.tokens(face))
    for i, (key, value) in enumerate(adapter.keys_values(face)):
        assert key.shape == value.shape == (2, 1, TOKENS, WIDTHS[i])
        assert relative_error(key, tokens @ matrices[f"{2 * i + 1}.to_k_ip.weight"].T) < 1e-5
        assert relative_error(value, tokens @ matrices[f"{2 * i + 1}.to_v_ip.weight"].T) < 1e-5


def test_tokens_keys_and_values_are_made_once_for_a_face(adapter, monkeypatch):
    face, read, get = people(), [], AdapterFile.__getitem__
    monkeypatch.setattr(AdapterFile, "__getitem__", lambda self, name: read.append(name) or get(self, name))
    first, projection = adapter.tokens(face), len(read)
    made, matrices = adapter.keys_values(face), len(read) - projection
    assert projection > 0 and matrices == 2 * len(WIDTHS)
    assert adapter.keys_values(face) is made and torch.equal(torch.stack(adapter.tokens(face)), torch.stack(first))
    assert len(read) == projection + matrices


def test_photos_of_one_person_lie_end_to_end_and_people_apart(adapter):
    both = people(2)
    (cond, uncond), apart = adapter.tokens(both), adapter.tokens(people(2, per_image=True))
    assert cond.shape == (1, 2 * TOKENS, CONTEXT) and apart[0].shape == (2, TOKENS, CONTEXT)
    assert torch.equal(cond.view_as(apart[0]), apart[0])
    assert torch.equal(uncond[:, :TOKENS], uncond[:, TOKENS:])


def test_another_recogniser_is_refused_with_the_pack_to_take(adapter):
    other = random_faces(1, clip=None, faces=({"recogniser": "w600k_r50", "model_pack": "buffalo_l"},))
    with pytest.raises(WrongRecogniserError, match=r"w600k_r50 \(model pack buffalo_l\), but .* \(model pack antelopev2\)"):
        adapter.keys_values(other)
    aura = random_faces(1, clip=None, faces=({"recogniser": "glintr100-auraface", "model_pack": "auraface"},))
    with pytest.raises(WrongRecogniserError, match=r"model pack auraface\), but glintr100 \(model pack antelopev2\) is needed"):
        adapter.keys_values(aura)
    adapter.keys_values(random_faces(1, clip=None))  # nothing says which it is


def test_faceid_refuses_the_recogniser_of_instantid(tmp_path):
    faceid = FaceIDAdapter(save(faceid_state(WIDTHS, CONTEXT, clip_dim=None), tmp_path / "a.bin"))
    with pytest.raises(WrongRecogniserError, match=r"glintr100 \(model pack antelopev2\), but .* \(model pack buffalo_l\)"):
        faceid.keys_values(people())
    faceid.keys_values(random_faces(1, clip=None, faces=({"recogniser": "one of my own"},)))


def test_another_base_model_is_refused(adapter):
    adapter.match(BLOCKS, CONTEXT)
    with pytest.raises(WrongBaseModelError, match=r"is an instantid adapter, made for .* \(2 cross-attention blocks"):
        adapter.match([CrossAttention((i,), "", width, 8, i) for i, width in enumerate(SD15_WIDTHS)], 768)


@pytest.mark.parametrize("kind", [{"rank": 4}, {"rank": 0}, {"rank": 4, "clip_dim": None}])
def test_a_faceid_file_is_named_as_such(tmp_path, kind):
    path = save(faceid_state(WIDTHS, CONTEXT, **kind), tmp_path / "a.bin")
    with pytest.raises(NotAnAdapterError, match=r"a\.bin is not an InstantID adapter: it is a FaceID adapter\."):
        InstantIDAdapter(path)


def test_portrait_unnorm_has_the_same_tensors_and_is_known_by_its_two_precisions(tmp_path):
    unnorm = state()
    unnorm["ip_adapter"] = {name: tensor.half() for name, tensor in unnorm["ip_adapter"].items()}
    path = save(unnorm, tmp_path / "a.bin")
    with pytest.raises(NotAnAdapterError, match=r"it is a FaceID adapter \(portrait-unnorm\)"):
        InstantIDAdapter(path)
    assert FaceIDAdapter(path).variant.raw_identity


def test_the_published_file_and_a_noted_one_are_not_opened_as_faceid(tmp_path, monkeypatch):
    noted = save(state(), tmp_path / "noted.safetensors", {"facegen.variant": "instantid"})
    published = save(state(), tmp_path / "published.bin")
    monkeypatch.setattr(raw_embedding, "INSTANTID_SIZE", published.stat().st_size)
    for path in (noted, published):
        assert InstantIDAdapter(path).variant.name == "instantid"
        with pytest.raises(NotAnAdapterError, match=r"is not a FaceID adapter: it is an InstantID adapter\."):
            FaceIDAdapter(path)


def test_what_is_missing_or_of_the_wrong_shape_is_named(tmp_path):
    lacking, wrong = state(), state()
    del lacking["image_proj"]["layers.3.1.3.weight"]
    wrong["image_proj"]["proj_out.weight"] = wrong["image_proj"]["proj_out.weight"][:, :-1]
    with pytest.raises(NotAnAdapterError, match=r"lacks image_proj\.layers\.3\.1\.3\.weight"):
        InstantIDAdapter(save(lacking, tmp_path / "a.bin"))
    with pytest.raises(NotAnAdapterError, match=r"proj_out\.weight \[96, 127\], needed \[context = 96, inner = 128\]"):
        InstantIDAdapter(save(wrong, tmp_path / "b.bin"))
