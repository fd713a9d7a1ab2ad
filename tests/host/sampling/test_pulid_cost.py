"""What PuLID costs on FLUX.1: operations and syncs in an evaluation, file reads, and memory."""

import pytest
import torch

import comfy_flux
from comfy_flux import caller, evaluate, latents
from counting import counted, live
from facegen.models.identity.adapter_file import AdapterFile
from facegen.models.identity.pulid.adapter import PulidAdapter
from pulid_files import flux_state, save, seen_faces

pytestmark = pytest.mark.newest


@pytest.fixture(scope="module")
def model():
    return comfy_flux.flux()


@pytest.fixture
def adapter(tmp_path):
    return PulidAdapter(save(flux_state(comfy_flux.LAYERS, comfy_flux.WIDTH), tmp_path / "pulid.safetensors"))


@pytest.fixture
def apply(model, adapter):
    # After the host is there.
    from facegen.nodes.host.sampling.methods.pulid import apply_pulid

    return lambda faces=None, **settings: apply_pulid(model, adapter, faces or seen_faces(), **settings)


def test_an_evaluation_costs_few_operations_and_no_sync(model, apply):
    (plain, _), (operations, syncs) = (counted([caller(patcher, latents())]) for patcher in (model, apply()))
    # Norm, queries, attention over the tokens, output; the layers' casts; the picture's part taken and put back.
    assert 0 < operations - plain <= 35 * comfy_flux.LAYERS and syncs == 0


def test_the_face_is_projected_once(apply, monkeypatch):
    """Neither another weight nor a step reads the file."""
    faces, read, get = seen_faces(), [], AdapterFile.__getitem__
    monkeypatch.setattr(AdapterFile, "__getitem__", lambda self, name: read.append(name) or get(self, name))
    first = evaluate(apply(faces), latents())
    assert any("to_kv" in name for name in read) and any("to_q" in name for name in read)
    read.clear()
    assert not torch.equal(evaluate(apply(faces, weight=0.5), latents()), first) and read == []
    apply(seen_faces(seed=8))
    assert any("to_kv" in name for name in read) and not any("pulid_ca" in name and "to_q" in name for name in read)


def test_no_growth_over_ten_photos(apply):
    def portrait(seed):
        patched = apply(seen_faces(seed=seed))
        evaluate(patched, latents())
        patched.detach()

    portrait(0), portrait(1)
    before = live()
    for seed in range(2, 12):
        portrait(seed)
    assert live() == before


def test_what_is_held_is_less_than_the_file(adapter, apply):
    """Queries and outputs of the published widths are 503 of 839 MB; here as well the keys' and values' part is gone."""
    (held,) = apply().get_nested_additional_models()
    layers = {name: adapter.file[name].nbytes for name in adapter.file if name.startswith("pulid_ca.")}
    gone = sum(size for name, size in layers.items() if ".to_kv." in name or ".norm1." in name)
    assert held.model_size() == sum(layers.values()) - gone
