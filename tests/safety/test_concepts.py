"""Stable Diffusion's safety checker, against diffusers' own with the same weights."""

import numpy as np
import pytest
import torch
from PIL import Image

from facegen.errors import BadPicturesError, BrokenCheckerError, FaceGenError, NoVerdictError
from facegen.models.safety import checking
from facegen.models.safety import concepts as concepts_module
from facegen.models.safety.clip_vit import views
from facegen.models.safety.concepts import ConceptChecker, load_concept_model, margins, scores
from facegen.models.safety.load import load_checker
from pictures import resize
from safety_files import VISION, Placed, concept_state, diffusers_checker, save_concepts

SIDE = VISION["image_size"]


@pytest.fixture(scope="module")
def state():
    return concept_state()


@pytest.fixture
def photos(astronaut, t1, tom_hanks):
    people = [resize(picture, 200, 200) for picture in (astronaut, t1, tom_hanks)]
    return torch.cat([*people, *(p.flip(1) for p in people), 1 - people[0], torch.rand_like(people[0])])


@pytest.fixture
def loaded(tmp_path):
    """loaded(state, …) -> the checker "sd" of a file with these tensors."""

    def load(state, preset="default", **options):
        return ConceptChecker(save_concepts(state, tmp_path / "checker.safetensors"), "sd", preset, **options)

    return load


def flags_of_diffusers(checker, pixels):
    return [bool(flag) for flag in checker(images=torch.zeros(len(pixels), 1), clip_input=pixels)[1]]


def at_the_limits(state, pixels, spread=0.02, seed=0):
    """The same checker with each limit near what these pictures reach, so that about half of its comparisons pass."""
    path_free = diffusers_checker(state)
    with torch.no_grad():
        pooled = path_free.vision_model(pixels)[1]
        picture = torch.nn.functional.normalize(path_free.visual_projection(pooled))
    g = torch.Generator().manual_seed(seed)
    new = dict(state)
    for name, up in (("concept_embeds", 0.01), ("special_care_embeds", 0.0)):
        near = picture @ torch.nn.functional.normalize(state[name]).T
        noise = spread * torch.randn(near.shape[1], generator=g)
        new[f"{name}_weights"] = near.amax(0) - near.std(0) / 2 + up + noise
    return new


@pytest.mark.parametrize("published", [True, False], ids=["published names", "newer names"])
def test_the_network_equals_diffusers(state, tmp_path, published):
    named = state if published else {n.replace("vision_model.vision_model.", "vision_model."): t for n, t in state.items()}
    ours = load_concept_model(save_concepts(named, tmp_path / "checker.safetensors"))
    oracle = diffusers_checker(state)
    pixels = torch.randn(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = torch.nn.functional.normalize(oracle.visual_projection(oracle.vision_model(pixels)[1]))
        concepts, care = ours(pixels)
    for near, embeds in ((concepts, oracle.concept_embeds), (care, oracle.special_care_embeds)):
        torch.testing.assert_close(near, expected @ torch.nn.functional.normalize(embeds).T, rtol=0, atol=1e-5)
    assert concepts.std(0).min() > 0.005  # pictures differ


@pytest.mark.parametrize("size", [(200, 200), (64, 64), (300, 170), (170, 300), (1024, 1024), (40, 50)])
def test_preprocessing_equals_transformers(astronaut, size):
    from transformers import CLIPImageProcessor

    picture = (resize(astronaut, *size) * 255).round() / 255
    processor = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    image = Image.fromarray((picture[0].numpy() * 255).round().astype(np.uint8))
    expected = processor(images=image, return_tensors="pt")["pixel_values"]
    ours = views(picture, SIDE)
    ours = ours[:, ours.shape[1] // 2]
    assert ours.shape == expected.shape
    # One level of 255 is at most 0.0153 here.
    assert (ours - expected).abs().max() < 0.016 and (ours - expected).abs().mean() < 0.002


@pytest.mark.parametrize("seed", range(6))
def test_decisions_equal_diffusers(state, loaded, photos, seed):
    pixels = views(photos, SIDE)[:, 0]
    near_limits = at_the_limits(state, pixels, seed=seed)
    expected = flags_of_diffusers(diffusers_checker(near_limits), pixels)
    checker = loaded(near_limits)
    results = checker.check(photos)
    assert [checking.is_flagged(r, checking.DEFAULT_THRESHOLD) for r in results] == expected
    assert len(results[0].class_scores) == 20 and not results[0].detections


class GiveSecond(torch.nn.Module):
    """In place of a vision model, whose pooled states come second."""

    def forward(self, pooled):
        return None, pooled


def test_the_rule_equals_diffusers_in_both_verdicts(state):
    """On random similarities, with special care in play and many of them at a limit."""
    g = torch.Generator().manual_seed(0)
    oracle = diffusers_checker(state)
    embeds = torch.nn.functional.normalize(torch.randn(3000, 96, generator=g))
    oracle.vision_model = GiveSecond()
    oracle.visual_projection = torch.nn.Identity()
    near, care = (
        (embeds @ torch.nn.functional.normalize(e).T).detach() for e in (oracle.concept_embeds, oracle.special_care_embeds)
    )
    for limit, special in ((0.24, 0.2), (0.235, 0.1), (0.25, 0.3)):
        oracle.concept_embeds_weights.data.fill_(limit)
        oracle.special_care_embeds_weights.data.fill_(special)
        expected = flags_of_diffusers(oracle, embeds)
        found, _ = margins(near.numpy(), care.numpy(), np.full(17, limit, np.float32), np.full(3, special, np.float32))
        ours = [bool(picture) for picture in (scores(found) >= checking.DEFAULT_THRESHOLD).any(1)]
        assert ours == expected
        assert 0.02 < np.mean(ours) < 0.9
        without_care = (near.numpy() - limit >= 0.0005).any(1)
        assert (without_care != np.array(ours)).any() or special > 0.25


def test_margins_by_hand():
    near, care = np.float32([[0.195, 0.1], [0.195, 0.1]]), np.float32([[0.3, 0.295], [0.1, 0.295]])
    concepts, special = margins(near, care, np.float32([0.2, 0.2]), np.float32([0.2, 0.3]))
    assert special.tolist() == [pytest.approx([0.1, 0.005]), pytest.approx([-0.1, -0.005])]
    assert concepts.tolist() == [pytest.approx([0.005, -0.09]), pytest.approx([-0.005, -0.1])]


def test_scores_cross_the_threshold_where_margins_cross_zero():
    at = np.float32([-1, -0.2, -0.001, 0, 0.001, 0.2, 1])
    found = scores(at)
    assert (found >= checking.DEFAULT_THRESHOLD).tolist() == [False] * 4 + [True] * 3
    assert (np.diff(found) >= 0).all() and found[0] == 0 and found[-1] == 1
    assert scores(np.float32([0.01]))[0] == pytest.approx(0.43) and scores(np.float32([-0.01]))[0] == pytest.approx(0.379)


def test_presets_move_all_margins_by_one_step(state, loaded, photos):
    checkers = {preset: loaded(state, preset) for preset in checking.PRESETS}
    assert [c.name for c in checkers.values()] == ["sd", "sd strict", "sd lenient"]
    found = {preset: [r.score for r in c.check(photos)] for preset, c in checkers.items()}
    assert all(s > d > n for s, d, n in zip(found["strict"], found["default"], found["lenient"], strict=True))
    with pytest.raises(FaceGenError, match="'hard' of sd.*default, strict, lenient"):
        loaded(state, "hard")


def test_a_batch_is_one_pass(state, loaded, photos, monkeypatch):
    placed = Placed()
    checker = loaded(state, place=placed)
    together = checker.check(photos)
    assert placed.passes == [len(photos)]
    alone = [checker.check(picture[None])[0].score for picture in photos]
    assert [r.score for r in together] == pytest.approx(alone, abs=0.006)  # margins have three decimals
    monkeypatch.setattr(concepts_module, "BATCH", 3)
    assert [r.score for r in checker.check(photos)] == pytest.approx(alone, abs=0.006)


def test_half_precision_files_and_pictures(state, loaded, photos):
    half = {n: t.half() if t.is_floating_point() else t for n, t in state.items()}
    full, checker = loaded(state).check(photos), loaded(half)
    expected = [r.score for r in full]
    assert [r.score for r in checker.check(photos.half())] == pytest.approx(expected, abs=0.02)


def test_found_by_name_as_file_and_as_folder(state, tmp_path, astronaut):
    save_concepts(state, tmp_path / "single.safetensors")
    save_concepts(state, tmp_path / "stable-diffusion-safety-checker")
    both = [load_checker(n, folders=[tmp_path]) for n in ("single.safetensors", "stable-diffusion-safety-checker")]
    assert both[0].check(astronaut)[0].score == both[1].check(astronaut)[0].score
    assert both[1].name == "stable-diffusion-safety-checker"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("special_care_embeds_weights"), "holds no tensor special_care_embeds_weights"),
        (lambda s: s.pop("vision_model.vision_model.post_layernorm.bias"), "post_layernorm.bias"),
        (lambda s: s.pop("visual_projection.weight"), "visual_projection.weight"),
        (lambda s: s.update(concept_embeds=torch.full((17, 96), float("nan"))), "NaN or infinity in concept_embeds"),
        (lambda s: s["concept_embeds"][3].zero_(), "concept consists of zeros"),
        (lambda s: s.update(concept_embeds_weights=torch.zeros(16)), "not one limit for each concept"),
        (lambda s: s.update(concept_embeds=torch.ones(17, 95)), "projects to 96 numbers, and its concepts have 95"),
    ],
)
def test_a_file_that_is_not_whole_is_refused(state, tmp_path, change, says):
    broken = {name: tensor.clone() for name, tensor in state.items()}
    change(broken)
    path = save_concepts(broken, tmp_path / "broken.safetensors")
    with pytest.raises(BrokenCheckerError, match=f"(?s)broken.safetensors.*{says}"):
        load_checker("broken.safetensors", folders=[tmp_path])
    assert path.is_file()


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.safetensors").write_text("not safetensors")
    with pytest.raises(BrokenCheckerError, match="text.safetensors can't be read as safetensors"):
        load_checker("text.safetensors", folders=[tmp_path])
    save_concepts({"weight": torch.ones(2)}, tmp_path / "lora.safetensors")
    with pytest.raises(BrokenCheckerError, match="lora.safetensors is not.*folder of its own"):
        load_checker("lora.safetensors", folders=[tmp_path])


def test_a_model_that_gives_no_number_is_an_error(state, loaded, astronaut):
    placed = Placed()
    checker = loaded(state, place=placed)
    placed.network.visual_projection.weight.fill_(float("inf"))
    with pytest.raises(NoVerdictError, match="NaN or infinity, so no picture was let through"):
        checker.check(astronaut)


def test_pictures_that_cannot_be_judged(state, loaded):
    checker = loaded(state)
    for wrong in (torch.zeros(1, 8, 8, 4), torch.full((1, 8, 8, 3), float("nan"))):
        with pytest.raises(BadPicturesError):
            checker.check(wrong)
