"""Image classifiers, against transformers itself with the same weights."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from facegen.errors import BrokenCheckerError, FaceGenError, MissingLibraryError, NoVerdictError, UnsafeLabelsError
from facegen.models.safety import checking, classifier
from facegen.models.safety.classifier import ClassifierChecker, unsafe_among
from facegen.models.safety.load import find_checkers, load_checker
from pictures import resize
from safety_files import Placed, concept_state, save_classifier, save_concepts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_classifier(tmp_path_factory.mktemp("models") / "detector")


@pytest.fixture
def photos(astronaut, t1, tom_hanks):
    people = [resize(picture, 200, 240) for picture in (astronaut, t1, tom_hanks)]
    return torch.cat([*people, *(p.flip(1) for p in people), 1 - people[0], torch.rand(people[0].shape)])


def by_transformers(folder, photos):
    """label -> probability, for each picture, from transformers' own pipeline."""
    from transformers import pipeline

    classify = pipeline("image-classification", model=str(folder), device="cpu")
    images = [Image.fromarray((picture.numpy() * 255).round().astype(np.uint8)) for picture in photos]
    return [{row["label"]: row["score"] for row in rows} for rows in classify(images, top_k=None)]


@pytest.mark.parametrize(
    ("labels", "unsafe", "config"),
    [
        (("normal", "nsfw"), ["nsfw"], {}),
        (("NSFW", "SFW"), ["NSFW"], {"problem_type": "single_label_classification"}),
        (("drawings", "hentai", "neutral", "porn", "sexy"), ["hentai", "porn", "sexy"], {}),
        (("safe", "nude", "explicit"), ["nude", "explicit"], {"problem_type": "multi_label_classification"}),
        (("nsfw",), ["nsfw"], {}),
    ],
    ids=["two", "unsafe first", "five", "multi-label", "one"],
)
def test_probabilities_equal_transformers(tmp_path, photos, labels, unsafe, config):
    folder = save_classifier(tmp_path / "detector", labels, **config)
    expected = by_transformers(folder, photos)
    checker = ClassifierChecker(folder, "detector")
    assert checker.unsafe == unsafe
    results = checker.check(photos)
    whole = sum if config.get("problem_type") != "multi_label_classification" else max
    for result, picture in zip(results, expected, strict=True):
        assert result.class_scores == {label: pytest.approx(picture[label], abs=1e-5) for label in labels}
        chance = whole(picture[label] for label in unsafe)
        assert result.score == pytest.approx(float(checking.on_scale(chance, 0.5)), abs=1e-5)
        assert checking.is_flagged(result, checking.DEFAULT_THRESHOLD) == (chance >= 0.5)
    assert np.std([r.score for r in results]) > 0.001  # pictures differ


def with_bias(folder, bias):
    """The same classifier with these logits whatever it sees."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["classifier.weight"].zero_()
    tensors["classifier.bias"] = torch.tensor(bias)
    save_file(tensors, file, {"format": "pt"})
    return folder


@pytest.mark.parametrize(("labels", "at"), [(("normal", "nsfw"), 1), (("nsfw", "normal"), 0)])
def test_a_sure_verdict_of_safe_is_no_alarm(tmp_path, astronaut, labels, at):
    bias = [0.0, 0.0]
    bias[1 - at] = 5.0
    (result,) = ClassifierChecker(with_bias(save_classifier(tmp_path / "d", labels), bias), "d").check(astronaut)
    assert result.score < 0.01 and result.class_scores["normal"] > 0.99


def test_unsafe_labels_count_together(tmp_path, astronaut):
    # 0.4 normal is the likeliest label, and 0.6 unsafe.
    bias = np.log([0.4, 0.3, 0.3]).tolist()
    folder = with_bias(save_classifier(tmp_path / "d", ("normal", "porn", "sexy")), bias)
    (result,) = ClassifierChecker(folder, "d").check(astronaut)
    assert checking.is_flagged(result, checking.DEFAULT_THRESHOLD)
    (result,) = ClassifierChecker(folder, "d", unsafe_labels=["porn"]).check(astronaut)
    assert not checking.is_flagged(result, checking.DEFAULT_THRESHOLD)


@pytest.mark.parametrize(("preset", "limit"), [("default", 0.5), ("strict", 0.25), ("lenient", 0.75)])
def test_presets(tmp_path, astronaut, preset, limit):
    folder = save_classifier(tmp_path / "d")
    for chance, unsafe in ((limit - 0.01, False), (limit + 0.01, True)):
        with_bias(folder, np.log([1 - chance, chance]).tolist())
        checker = ClassifierChecker(folder, "d", preset)
        assert checking.is_flagged(checker.check(astronaut)[0], checking.DEFAULT_THRESHOLD) == unsafe
        assert checker.name == ("d" if preset == "default" else f"d {preset}")
    with pytest.raises(FaceGenError, match="'hard' of d.*default, strict, lenient"):
        ClassifierChecker(folder, "d", "hard")


def test_a_batch_is_one_pass(folder, photos, monkeypatch):
    placed = Placed()
    checker = ClassifierChecker(folder, "detector", place=placed)
    together = [r.score for r in checker.check(photos)]
    assert placed.passes == [len(photos)]
    assert together == pytest.approx([checker.check(picture[None])[0].score for picture in photos], abs=1e-5)
    monkeypatch.setattr(classifier, "BATCH", 3)
    assert [r.score for r in checker.check(photos)] == pytest.approx(together, abs=1e-5)


@pytest.mark.parametrize(
    ("labels", "chosen", "unsafe"),
    [
        (["Not_Safe-For  Work", "SFW"], [], ["Not_Safe-For  Work"]),
        (["neutral", "low", "medium", "high"], ["medium", "HIGH"], ["medium", "high"]),
        (["LABEL_0", "LABEL_1"], ["label 1"], ["LABEL_1"]),
    ],
)
def test_labels_are_told_by_name_or_by_the_user(tmp_path, labels, chosen, unsafe):
    assert unsafe_among(labels, chosen, tmp_path) == unsafe


@pytest.mark.parametrize(
    ("labels", "chosen", "says"),
    [
        (["LABEL_0", "LABEL_1"], [], "isn't clear.*LABEL_0, LABEL_1"),
        (["normal", "nsfw", "gore"], [], "isn't clear.*gore"),
        (["cat", "dog"], [], "isn't clear"),
        (["normal", "sfw"], [], "isn't clear"),
        (["normal", "nsfw"], ["nfsw"], "no label nfsw. It has: normal, nsfw"),
    ],
)
def test_labels_that_leave_a_doubt_are_refused(tmp_path, labels, chosen, says):
    with pytest.raises(UnsafeLabelsError, match=says):
        unsafe_among(labels, chosen, tmp_path)


def test_checkers_are_found_by_folder_and_by_file(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    save_classifier(first / "detectors" / "small")
    save_classifier(second / "nsfw")
    save_concepts(concept_state(), first / "sd")
    save_concepts(concept_state(), second / "sd")
    save_concepts(concept_state(), second / "concepts.safetensors")
    (second / "notes.txt").write_text("no checker")
    (second / "linked").symlink_to(first / "detectors", target_is_directory=True)
    found = find_checkers([first, second, tmp_path / "missing"])
    assert found == {
        "detectors/small": first / "detectors" / "small",
        "sd": first / "sd",
        "concepts.safetensors": second / "concepts.safetensors",
        "linked/small": second / "linked" / "small",
        "nsfw": second / "nsfw",
    }
    names = {name: type(load_checker(name, folders=[first, second])).__name__ for name in found}
    assert set(names.values()) == {"ConceptChecker", "ClassifierChecker"}
    assert names["nsfw"] == names["detectors/small"] == "ClassifierChecker"


def without(name):
    def change(folder):
        tensors = load_file(folder / "model.safetensors")
        del tensors[name]
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    return change


def preprocessor(**changes):
    def change(folder):
        file = folder / "preprocessor_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


CROP = {"image_processor_type": "CLIPImageProcessor", "crop_size": {"height": 224, "width": 224}}


def other_size(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.weight"] = torch.zeros(3, 32)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without("classifier.weight"), "lacks classifier.weight"),
        (other_size, "classifier"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "could not be loaded"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json can't be read"),
        (lambda folder: (folder / "config.json").write_text("[]"), r"config\.json can't be read"),
        (lambda folder: (folder / "config.json").write_text("{}"), "could not be loaded"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no tensors"), "could not be loaded"),
        (preprocessor(rescale_factor=0), "could not be loaded.*preprocessor_config.json"),
        (preprocessor(image_mean=[0.5, 0.5]), "could not be loaded.*preprocessor_config.json"),
        (preprocessor(**CROP, do_resize=False), "preprocessor_config.json .* keeps 8.% .* and 4.% of a larger"),
        (preprocessor(**CROP, size={"shortest_edge": 2000}), "preprocessor_config.json .* keeps 1.% .* At least 50%"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(tmp_path, change, says):
    change(save_classifier(tmp_path / "detector"))
    with pytest.raises(BrokenCheckerError, match=f"(?s){says}"):
        load_checker("detector", folders=[tmp_path])


def test_pickles_and_code_from_the_folder_are_not_run(tmp_path):
    folder = save_classifier(tmp_path / "detector")
    tensors = load_file(folder / "model.safetensors")
    torch.save(tensors, folder / "pytorch_model.bin")
    save_file({"a": torch.zeros(1)}, folder / "other.safetensors")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BrokenCheckerError, match="could not be loaded"):
        load_checker("detector", folders=[tmp_path])
    config = json.loads((folder / "config.json").read_text())
    (folder / "code.py").write_text("raise SystemExit('run')")
    code = {"auto_map": {"AutoModelForImageClassification": "code.X", "AutoConfig": "code.Y"}, "model_type": "unknown"}
    (folder / "config.json").write_text(json.dumps(config | code))
    with pytest.raises(BrokenCheckerError, match="could not be loaded"):
        load_checker("detector", folders=[tmp_path])


def test_a_model_that_gives_no_number_is_an_error(folder, astronaut):
    placed = Placed()
    checker = ClassifierChecker(folder, "detector", place=placed)
    for parameter in placed.network.parameters():
        parameter.fill_(float("nan"))
    with pytest.raises(NoVerdictError, match="outside 0-1"):
        checker.check(astronaut)


def test_an_exception_in_the_model_is_not_swallowed(folder, astronaut):
    def lost():
        raise RuntimeError("device lost")

    checker = ClassifierChecker(folder, "detector", place=lambda network: lost)
    with pytest.raises(RuntimeError, match="device lost"):
        checker.check(astronaut)


def test_without_transformers_the_error_says_so(folder, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingLibraryError, match="need transformers"):
        ClassifierChecker(folder, "detector")


@pytest.mark.parametrize("config", [{"model_type": "timm_wrapper"}, {"architecture": "vit_tiny", "pretrained_cfg": {}}])
def test_a_classifier_of_timm_without_timm(tmp_path, monkeypatch, config):
    """As transformers writes it, and as timm itself does."""
    folder = save_classifier(tmp_path / "detector")
    (folder / "config.json").write_text(json.dumps(config))
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "timm" else found(name, *rest))
    with pytest.raises(MissingLibraryError, match=r"detector needs the Python library timm, which isn't installed\.$"):
        load_checker("detector", folders=[tmp_path])
