"""PuLID against the plain reference, on random weights; that was checked by hand against the method's own code."""

from dataclasses import replace

import pytest
import torch

import pulid_reference as reference
from facegen.models.face.embeds import NOBODY
from facegen.models.identity.attention import IdentityAttention
from facegen.models.identity.pulid.adapter import PulidAdapter
from facegen.models.identity.pulid.cross_attention import places
from facegen.models.identity.pulid.orthogonal import PROJECTIONS, OrthogonalAttention
from faceid_files import relative_error
from pulid_files import CONTEXT, FLUX_WIDTH, flux_state, save, sdxl_state, seen_faces

WIDTHS, HEADS = [64, 128], 4
ENCODERS = {"v1.1": (sdxl_state, {}), "v1": (sdxl_state, {"v1": True}), "flux": (flux_state, {})}


def opened(kind, tmp_path):
    make, settings = ENCODERS[kind]
    state = make(3 if kind == "flux" else WIDTHS, **settings)
    return state, PulidAdapter(save(state, tmp_path / ("a.bin" if kind == "v1" else "a.safetensors")))


def expected_tokens(kind, state, faces, rows):
    """Of one person, by photos `rows`."""
    encode = reference.mlp_encoder if kind == "v1" else reference.idformer
    vectors = [reference.vector(faces.identity[i], faces.structure_pooled[i]) for i in rows]
    return encode(
        state, "pulid_encoder" if kind == "flux" else "id_adapter", vectors, [faces.structure_hidden[i] for i in rows]
    )


def nobody(kind, state, faces, photos):
    encode = reference.mlp_encoder if kind == "v1" else reference.idformer
    vectors = [torch.zeros(512 + faces.structure_pooled.shape[1])] * photos
    root = "pulid_encoder" if kind == "flux" else "id_adapter"
    return encode(state, root, vectors, list(torch.zeros_like(faces.structure_hidden[:photos])))


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("photos", [1, 3])
def test_tokens_of_one_person(tmp_path, kind, photos):
    state, adapter = opened(kind, tmp_path)
    faces = seen_faces(photos)
    cond, uncond = adapter.tokens(faces)
    assert cond.shape == (1, 10 + 5 * (photos - 1) if kind == "v1" else 32, CONTEXT)
    assert relative_error(cond[0], expected_tokens(kind, state, faces, range(photos))) < 1e-5
    assert relative_error(uncond[0], nobody(kind, state, faces, photos if kind == "v1" else 1)) < 1e-5


@pytest.mark.parametrize("kind", ENCODERS)
def test_tokens_of_several_people_and_of_nobody(tmp_path, kind):
    """Each as by itself; the row of nobody is the unconditional side."""
    state, adapter = opened(kind, tmp_path)
    faces = seen_faces(3)
    used = torch.tensor([1.0, 0.0, 1.0])
    faces = replace(
        faces,
        identity=faces.identity * used[:, None],
        structure_pooled=faces.structure_pooled * used[:, None],
        structure_hidden=faces.structure_hidden * used[:, None, None, None],
        faces=({}, NOBODY, {}),
        per_image=True,
    )
    cond, uncond = adapter.tokens(faces)
    for row in (0, 2):
        assert relative_error(cond[row], expected_tokens(kind, state, faces, [row])) < 1e-5
    assert torch.equal(cond[1], uncond[1]) and torch.equal(uncond[0], uncond[1])


def test_the_towers_output_counts_by_its_direction(tmp_path):
    _, adapter = opened("v1.1", tmp_path)
    faces = seen_faces()
    longer = replace(faces, structure_pooled=faces.structure_pooled * 7)
    louder = replace(faces, identity=faces.identity * 7)
    cond, _ = adapter.tokens(faces)
    assert relative_error(adapter.tokens(longer)[0], cond) < 1e-6
    assert relative_error(adapter.tokens(louder)[0], cond) > 1e-3  # the recogniser's numbers are read as they come


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("num_zero", [0, 8])
def test_what_is_added_to_a_block_of_sdxl(tmp_path, projection, num_zero):
    state, adapter = opened("v1.1", tmp_path)
    faces = seen_faces()
    tokens = adapter.tokens(faces)
    g = torch.Generator().manual_seed(5)
    for block, (width, (key, value)) in enumerate(zip(WIDTHS, adapter.keys_values(faces), strict=True)):
        attention = OrthogonalAttention(key, value, HEADS, 0.8, projection, num_zero)
        own, q = torch.randn(2, 40, width, generator=g), torch.randn(2, 40, width, generator=g)
        given = attention.added_to(own, q, (1, 0)) - own  # unconditional first, as hosts batch the two
        for row, side in enumerate((1, 0)):
            expected = reference.sdxl_addition(
                state, block, tokens[side][0], own[row], q[row], HEADS, 0.8, projection, num_zero
            )
            assert relative_error(given[row], expected) < 1e-5


def test_the_projections_differ(tmp_path):
    _, adapter = opened("v1.1", tmp_path)
    key, value = adapter.keys_values(seen_faces())[0]
    g = torch.Generator().manual_seed(5)
    own, q = torch.randn(1, 40, WIDTHS[0], generator=g), torch.randn(1, 40, WIDTHS[0], generator=g)
    attentions = [OrthogonalAttention(key, value, HEADS, 1.0, projection) for projection in PROJECTIONS]
    added = [attention.added_to(own, q, (0,)) - own for attention in attentions]
    assert all(relative_error(added[a], added[b]) > 0.01 for a, b in ((0, 1), (0, 2), (1, 2)))
    v1 = added[PROJECTIONS.index("orthogonal v1")]
    assert (v1 * own).sum(dim=1).abs().max() < 1e-4  # nothing of it lies along the block's own attention


def test_a_channel_in_which_the_block_says_nothing():
    key, value, q = torch.randn(2, 1, 8, 4), torch.randn(2, 1, 8, 4), torch.randn(1, 9, 4)
    own = torch.randn(1, 9, 4) * torch.tensor([1.0, 0.0, 1e-30, 1.0])
    for projection in PROJECTIONS:
        attention = OrthogonalAttention(key, value, 2, projection=projection)
        given = attention.added_to(own, q, (0,))
        assert torch.equal(given[..., 1:3], attention(q, (0,))[..., 1:3])


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_where_a_face_acts(projection):
    """Black is the block's own attention and white all of the face, to the bit; grey is between."""
    g = torch.Generator().manual_seed(5)
    key, value, own, q = (torch.randn(2, n, length, 64, generator=g) for n, length in ((1, 8), (1, 8), (1, 30), (1, 30)))
    own, q, attention = own[:, 0], q[:, 0], OrthogonalAttention(key, value, HEADS, projection=projection)
    whole = attention.added_to(own, q, (1, 0))
    where = torch.tensor([0.0, 1.0, 0.25]).repeat_interleave(10)[None, :, None]
    given = attention.added_to(own, q, (1, 0), where=where)
    assert torch.equal(given[:, :10], own[:, :10]) and torch.equal(given[:, 10:20], whole[:, 10:20])
    assert relative_error((given - own)[:, 20:], (whole - own)[:, 20:] / 4) < 1e-5


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_half_precision_rounds_once(projection):
    """As near to float32 as rounding the outcome and the attention to the face comes."""
    g = torch.Generator().manual_seed(5)
    key, value, own, q = (torch.randn(2, n, length, 64, generator=g) for n, length in ((1, 8), (1, 8), (1, 30), (1, 30)))
    key, value, own, q = (t.half() for t in (key, value, own[:, 0], q[:, 0]))
    given = OrthogonalAttention(key, value, HEADS, projection=projection).added_to(own, q, (1, 0))
    exact = OrthogonalAttention(key.float(), value.float(), HEADS, projection=projection)
    assert given.dtype == torch.half
    assert relative_error(given.float(), exact.added_to(own.float(), q.float(), (1, 0))) < 4e-4


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_gradients_go_through(projection):
    """As when a model with a face on it is trained."""
    g = torch.Generator().manual_seed(5)
    attention = OrthogonalAttention(torch.randn(2, 1, 8, 64, generator=g), torch.randn(2, 1, 8, 64, generator=g), HEADS)
    attention.projection = projection
    q, own, along = (torch.randn(1, 30, 64, generator=g) for _ in range(3))
    q.requires_grad_(), own.requires_grad_()
    (attention.added_to(own, q, (0,)) ** 2).sum().backward()
    with torch.no_grad():
        up, down = ((attention.added_to(own, q + step * along, (0,)) ** 2).sum() for step in (1e-2, -1e-2))
    assert relative_error((q.grad * along).sum(), (up - down) / 2e-2) < 1e-2 and own.grad.abs().sum() > 0


def test_one_person_for_several_latents_is_projected_latent_by_latent(tmp_path):
    _, adapter = opened("v1.1", tmp_path)
    key, value = adapter.keys_values(seen_faces())[0]
    attention = OrthogonalAttention(key, value, HEADS)
    g = torch.Generator().manual_seed(5)
    own, q = torch.randn(4, 40, WIDTHS[0], generator=g), torch.randn(4, 40, WIDTHS[0], generator=g)
    together = attention.added_to(own, q, (1, 0))
    for row, side in enumerate((1, 1, 0, 0)):
        alone = attention.added_to(own[[row]], q[[row]], (side,))
        assert relative_error(together[[row]], alone) < 1e-6


@pytest.mark.parametrize("side", [0, 1])
def test_what_a_layer_of_flux_adds(tmp_path, side):
    state, adapter = opened("flux", tmp_path)
    faces = seen_faces()
    layers = adapter.picture_layers()
    picture = torch.randn(1, 30, FLUX_WIDTH, generator=torch.Generator().manual_seed(5))
    assert len(layers) == 3
    for number, (key, value) in enumerate(adapter.keys_values(faces)):
        given = layers[number](picture, IdentityAttention(key, value, 2, 0.7), (side,))
        expected = reference.flux_addition(state, number, adapter.tokens(faces)[side][0], picture[0], 0.7)
        assert relative_error(given[0], expected) < 1e-5


def test_what_a_host_has_to_hold_for_flux(tmp_path):
    """Norm, queries and output: keys and values stay in the file."""
    state, adapter = opened("flux", tmp_path)
    held = adapter.picture_layers().state_dict()
    assert {name.split(".", 1)[1] for name in held} == {"norm2.weight", "norm2.bias", "to_q.weight", "to_out.weight"}
    assert all(torch.equal(tensor, state[f"pulid_ca.{name}"]) for name, tensor in held.items())
    halves = {name: tensor.bfloat16() for name, tensor in state.items()}
    adapter = PulidAdapter(save(halves, tmp_path / "half.safetensors"))
    assert {tensor.dtype for tensor in adapter.picture_layers().state_dict().values()} == {torch.bfloat16}


def test_where_the_layers_of_flux_stand():
    """FLUX.1 has 19 double and 38 single blocks, and the published files 20 layers."""
    expected = [("double", i) for i in (0, 2, 4, 6, 8, 10, 12, 14, 16, 18)]
    expected += [("single", i) for i in (0, 4, 8, 12, 16, 20, 24, 28, 32, 36)]
    assert places(19, 38) == expected and len(expected) == 20
