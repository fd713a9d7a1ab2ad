"""All of a picture is looked at, whatever its shape and wherever something is; no picture or file costs out of proportion."""

import itertools
import json
import time

import pytest
import torch

from facegen.errors import BrokenCheckerError
from facegen.models.safety.classifier import ClassifierChecker
from facegen.models.safety.clip_vit import views
from facegen.models.safety.concepts import ConceptChecker
from facegen.models.safety.filter import filter_images
from facegen.models.safety.nudenet import NudeNetChecker
from facegen.models.safety.redaction import REDACTIONS, REGIONS
from facegen.models.safety.views import LONGEST, MAX_SIDE, MOST_VIEWS, starts
from peak_memory import peak_of
from pictures import UNSAFE, resize
from safety_files import VISION, concept_state, save_classifier, save_concepts

SIDE = VISION["image_size"]
SHAPES = [(512, 768), (768, 512), (64, 512), (1280, 100), (40, 3000), (3000, 40)]
# Of preprocessors: what each sees of a square picture, and how.
PREPROCESSORS = {
    "squeezed": {"size": {"height": 32, "width": 32}},
    "middle": {
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
        "image_processor_type": "CLIPImageProcessor",
    },
    "middle of the middle": {
        "size": {"shortest_edge": 40},
        "crop_size": {"height": 32, "width": 32},
        "image_processor_type": "CLIPImageProcessor",
    },
    "a crop of its own": {
        "size": {"shortest_edge": 32},
        "crop_pct": 0.8,
        "do_resize": True,
        "image_processor_type": "ConvNextImageProcessor",
    },
}


@pytest.mark.parametrize("room", [0, 1, 31, 32, 33, 64, 65, 100, 224])
def test_views_cover_a_side_in_half_steps_around_the_middle(room):
    places = starts(room, 32)
    assert places[0] == 0 and places[-1] == room and places[len(places) // 2] == room // 2 and len(places) % 2
    assert all(0 <= b - a <= 17 for a, b in itertools.pairwise(places))
    assert len(places) <= MOST_VIEWS and (len(places) == 1) == (room == 0)


def spot(shape, at):
    """A grey picture with a square in a share `at` of its longer side, of a twelfth of that or of all of its shorter side."""
    picture = torch.full((1, *shape, 3), 0.5)
    side = max(shape) // 12
    start = round(at * (max(shape) - side))
    if shape[0] >= shape[1]:
        picture[:, start : start + side, : max(side, 1)] = torch.tensor([1.0, 0.0, 0.0])
    else:
        picture[:, : max(side, 1), start : start + side] = torch.tensor([1.0, 0.0, 0.0])
    return picture


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("at", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_whatever_is_somewhere_is_seen_whole_in_a_view(shape, at):
    plain, marked = (views(spot(shape, at) if mark else torch.full((1, *shape, 3), 0.5), SIDE)[0] for mark in (0, 1))
    assert plain.shape == marked.shape and len(plain) <= MOST_VIEWS
    changed = (plain != marked).any(dim=1).flatten(1).sum(dim=1)
    together = max(shape) / 12 / max(min(shape), max(shape) / LONGEST) * SIDE  # of the spot's side, in pixels of a view
    assert changed.max() >= 0.8 * together * min(together, SIDE * min(shape) / max(min(shape), max(shape) / LONGEST))


@pytest.fixture(scope="module")
def checkers(tmp_path_factory):
    """Checkers that judge redness, in that what they see of it decides."""
    folder = tmp_path_factory.mktemp("checkers")
    made = {"concepts": ConceptChecker(save_concepts(concept_state(), folder / "c.safetensors"), "c")}
    for name, preprocessor in PREPROCESSORS.items():
        save_classifier(folder / name)
        file = folder / name / "preprocessor_config.json"
        config = {k: v for k, v in json.loads(file.read_text()).items() if "type" not in k and k != "size"}
        kind = {"image_processor_type": "ViTImageProcessor"}
        file.write_text(json.dumps(config | kind | preprocessor))
        made[name] = ClassifierChecker(folder / name, name)
    return made


@pytest.mark.parametrize("name", ["concepts", *PREPROCESSORS])
@pytest.mark.parametrize("shape", [(512, 768), (768, 512), (512, 512), (80, 1600)])
@pytest.mark.parametrize("at", [0.0, 0.5, 1.0])
def test_every_part_of_a_picture_reaches_the_network(checkers, monkeypatch, name, shape, at):
    checker, reached = checkers[name], []
    checker._model.register_forward_pre_hook(lambda _, given: reached.append(given[0].clone()))
    for picture in (torch.full((1, *shape, 3), 0.5), spot(shape, at)):
        checker.check(picture)
    checker._model._forward_pre_hooks.clear()
    without, with_spot = reached
    changed = (without - with_spot).abs().amax(dim=(1, 2, 3))
    assert changed.max() > 0.5


def test_the_highest_score_of_all_views_counts(checkers, astronaut, t1):
    for name in ("concepts", "middle"):
        checker = checkers[name]
        tall = torch.cat([astronaut, t1[:, :512, :512], 1 - astronaut], dim=1)
        whole = checker.check(tall)[0]
        parts = [checker.check(part)[0] for part in tall.split(512, dim=1)]
        highest = max(part.score for part in parts)
        assert whole.score >= highest - 0.02 and whole.score >= parts[1].score - 1e-3
        assert set(whole.class_scores) == set(parts[0].class_scores)


@pytest.mark.parametrize("across", [False, True], ids=["high", "wide"])
@pytest.mark.parametrize("at", [0, 1000, 2600])
def test_nudenet_finds_in_a_strip_what_it_finds_in_a_square(astronaut, across, at):
    """A face here, of whom little is left when the strip is reduced to a square."""
    checker = NudeNetChecker("CPU", limits={"FACE_FEMALE": 0.25})
    strip = torch.full((1, 3000, 400, 3), 0.5)
    strip[:, at : at + 400] = resize(astronaut, 400, 400)
    if across:
        strip = torch.full((1, 400, 3000, 3), 0.5)
        strip[:, :, at : at + 400] = resize(astronaut, 400, 400)
    (alone,) = checker.check(resize(astronaut, 400, 400))[0].detections
    result = checker.check(strip)[0]
    assert result.score > 0.4 and result.class_scores["FACE_FEMALE"] > 0.6
    found = max(result.detections, key=lambda d: d.score)
    shift = (at, 0, at, 0) if across else (0, at, 0, at)
    assert found.box == pytest.approx([v + s for v, s in zip(alone.box, shift, strict=True)], abs=40)


@pytest.mark.parametrize("name", ["concepts", "middle", "squeezed", "nudenet"])
@pytest.mark.parametrize("shape", [(20_000, 100), (100, 20_000), (1, 500_000), (2000, 2000), (1500, 3000)])
def test_memory_is_in_proportion_to_the_picture(checkers, nudenet, name, shape):
    checker = nudenet if name == "nudenet" else checkers[name]
    checker.check(torch.zeros(1, 64, 64, 3))
    picture = torch.full((1, *shape, 3), 0.5)
    began = time.process_time()
    assert peak_of(lambda: checker.check(picture)) < 3 * picture.numel() * 4 + (40 << 20)
    assert time.process_time() - began < 30


class Alarmed:
    """Flags everything."""

    name = "alarmed"

    def check(self, images):
        return [UNSAFE] * len(images)


@pytest.mark.parametrize("redaction", REDACTIONS)
@pytest.mark.parametrize("shape", [(20_000, 100), (2000, 2000)])
def test_hiding_costs_in_proportion(redaction, shape):
    picture = torch.rand(1, *shape, 3)
    filter_images(picture[:, :64, :64], Alarmed(), redaction)
    assert peak_of(lambda: filter_images(picture, Alarmed(), redaction, REGIONS[0])) < 3 * picture.numel() * 4 + (30 << 20)


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        ("preprocessor_config.json", {"size": {"height": 20_000, "width": 20_000}}, "asks for a size of 20000"),
        ("preprocessor_config.json", {"crop_size": 20_000}, "asks for a crop_size of 20000"),
        ("preprocessor_config.json", {"size": [1e30, 3]}, "asks for a size"),
        ("config.json", {"image_size": 20_000}, "asks for a image_size of 20000"),
        ("config.json", {"hidden_size": 200_000}, "asks for a hidden_size of 200000"),
        ("config.json", {"num_hidden_layers": 10_000_000}, "asks for a num_hidden_layers of 10000000"),
        ("config.json", {"vision_config": {"depths": [2, 9_000_000]}}, "asks for a depths of 9000000"),
    ],
)
def test_a_configuration_that_asks_for_too_much(tmp_path, file, change, says):
    folder = save_classifier(tmp_path / "d")
    config = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(config | change))
    began = time.process_time()

    def load():
        with pytest.raises(BrokenCheckerError, match=f"{file} {says}.* is the most that can be right"):
            ClassifierChecker(folder, "d")

    assert peak_of(load) < 100 << 20
    assert time.process_time() - began < 15


def test_concepts_of_huge_pictures(tmp_path):
    state = concept_state()
    name = "vision_model.vision_model.embeddings.position_embedding.weight"
    state[name] = torch.zeros((MAX_SIDE // VISION["patch_size"] + 1) ** 2 + 1, VISION["hidden_size"])
    del state["vision_model.vision_model.embeddings.position_ids"]
    with pytest.raises(
        BrokenCheckerError, match=f"sees {MAX_SIDE + VISION['patch_size']} pixels along a side, and {MAX_SIDE} is"
    ):
        ConceptChecker(save_concepts(state, tmp_path / "c.safetensors"), "c")


def test_configurations_nested_without_end(tmp_path):
    folder = save_classifier(tmp_path / "d")
    (folder / "config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    from facegen.models.safety.load import load_checker

    with pytest.raises(BrokenCheckerError, match="config.json can't be read"):
        load_checker("d", folders=[tmp_path])
