"""What a vision tower sees of a face, against plain references that were checked by hand against the published code."""

import builtins
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import structure_reference as reference
from facegen.errors import FaceGenError, MissingLibraryError, NoFeaturesError, UnreadableFileError, WrongStructureFileError
from facegen.models.face.analysis import Face, to_bgr
from facegen.models.face.structure import look as look_module
from facegen.models.face.structure.crop import AROUND, SIZE, TEMPLATE, ffhq_crop
from facegen.models.face.structure.look import FaceStructure, features, reduced
from facegen.models.face.structure.parsing import CLASSES, FaceParsing
from facegen.models.face.structure.tower import SIDE, VisionTower
from faceid_files import relative_error
from structure_files import parsing_state, tower_state


def saved(state, path):
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(tower, parsing)"""
    folder = tmp_path_factory.mktemp("structure")
    return saved(tower_state(), folder / "eva.pt"), saved(parsing_state(), folder / "parsing.pth")


def smooth(seed=0, side=SIZE, rough=12):
    g = torch.Generator().manual_seed(seed)
    return torch.nn.functional.interpolate(torch.rand(1, 3, rough, rough, generator=g), size=(side, side), mode="bilinear")


def a_face(kps):
    return Face(np.array([100, 50, 300, 250], np.float32), np.array(kps, np.float32), 0.9)


@pytest.mark.parametrize("turn", [0.0, 0.6, 3.0])
def test_the_crop_puts_the_points_onto_the_template(turn):
    """A photo with five dots: each dot lies where the template has it, however the head is turned."""
    shift = np.array([260.0, 300.0])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    kps = (TEMPLATE - TEMPLATE.mean(0)) * 0.9 @ rotation.T + shift
    photo = np.zeros((600, 560, 3), np.uint8)
    for x, y in kps:
        photo[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4] = 255
    crop = ffhq_crop(photo, a_face(kps))
    assert crop.shape == (SIZE, SIZE, 3) and crop.dtype == torch.float32
    for x, y in TEMPLATE:
        assert crop[round(y), round(x)].min() > 0.9


def test_the_crop_of_a_large_photo_and_of_one_that_ends(astronaut):
    bgr = to_bgr(astronaut[0])
    kps = np.array([[199, 108], [251, 111], [228, 140], [204, 160], [247, 163]], np.float32)
    small = ffhq_crop(bgr, a_face(kps))
    large = ffhq_crop(np.repeat(np.repeat(bgr, 3, 0), 3, 1), a_face(kps * 3 + 1))
    assert (small - large).abs().mean() < 0.02
    beside = ffhq_crop(bgr, a_face(kps - [199, 108]))
    assert torch.allclose(beside[0, 0], torch.tensor(AROUND[::-1]) / 255)
    with pytest.raises(FaceGenError, match="can't be turned upright"):
        ffhq_crop(bgr, a_face(np.full((5, 2), 100.0)))


def test_parsing_equals_the_plain_network(tmp_path):
    state = parsing_state()
    network = FaceParsing.load(saved(state, tmp_path / "any name.pth"))
    pictures = torch.cat([smooth(seed) for seed in range(2)])
    scores = reference.parsing(state, pictures)
    best = scores.topk(2, dim=1).values
    clear = best[:, 0] - best[:, 1] > 1e-4  # in between, the last bit decides
    given = network(pictures)
    assert clear.float().mean() > 0.99 and len(given.unique()) > 3
    assert torch.equal(given[clear], scores.argmax(dim=1)[clear])


@pytest.mark.timm
def test_the_tower_equals_the_plain_network(files):
    tower, picture = VisionTower.load(files[0]), smooth(3, SIDE)
    pooled, hidden = tower(picture)
    expected, states = reference.tower(tower_state(), picture[0])
    assert hidden.shape == (1, 5, 577, 64)
    assert relative_error(pooled[0], expected) < 1e-4
    for given, state in zip(hidden[0], states, strict=True):
        assert relative_error(given, state) < 1e-4


@pytest.mark.timm
def test_timms_own_file_is_read_too(files, tmp_path):
    tower = VisionTower.load(files[0])
    again = VisionTower.load(saved(tower.network.state_dict(), tmp_path / "model.safetensors"))
    halves = saved({name: tensor.half() for name, tensor in tower_state().items()}, tmp_path / "half.pt")
    picture = smooth(3, SIDE)
    for given, expected in zip(again(picture), tower(picture), strict=True):
        assert torch.equal(given, expected)
    assert {tensor.dtype for tensor in VisionTower.load(halves).state_dict().values()} == {torch.float32}


def test_only_the_features_of_a_face_stay():
    pictures = smooth()
    classes = torch.arange(SIZE * SIZE).view(1, SIZE, SIZE) % len(CLASSES)
    shown = features(pictures, classes)
    grey = 0.299 * pictures[0, 0] + 0.587 * pictures[0, 1] + 0.114 * pictures[0, 2]
    gone = {0, 7, 8, 9, 14, 15, 16, 18}  # background, ears, earring, neck, necklace, clothes, hat
    for number in range(len(CLASSES)):
        here = classes[0] == number
        for channel in shown[0]:
            expected = torch.ones(()) if number in gone else grey[here]
            assert torch.allclose(channel[here], expected, atol=1e-6)
    assert features(pictures, torch.zeros_like(classes)) is None


def test_reduction_is_bicubic_without_antialiasing():
    """One black pixel: with antialiasing it would spread over its neighbours in the same way wherever it is."""
    picture = torch.ones(1, 3, SIZE, SIZE)
    picture[..., 256, 256] = 0
    small = reduced(picture)
    assert small.shape == (1, 3, SIDE, SIDE)
    assert small.min() < 0.4 and small.max() > 1  # sharp, with overshoot


class Count:
    """A Place that counts how often the networks are asked for."""

    def __init__(self):
        self.asked = 0

    def __call__(self, network):
        def ready():
            self.asked += 1
            return torch.device("cpu")

        return ready


@pytest.mark.timm
def test_a_face_is_looked_at_once(files, monkeypatch):
    place = Count()
    structure = FaceStructure(*files, place)
    crops = [smooth(seed)[0].movedim(0, -1) for seed in range(3)]
    seen = [structure.look(crop) for crop in crops]
    assert place.asked == 6  # each network for each face
    again = structure.look(crops[0].clone())
    assert place.asked == 6 and torch.equal(again.hidden, seen[0].hidden)
    assert not torch.equal(seen[0].pooled, seen[1].pooled)
    first = seen[0]
    assert first.pooled.shape == (40,) and first.hidden.shape == (5, 577, 64) and first.picture.shape == (SIZE, SIZE, 3)
    shown = features(smooth(), structure.parsing(smooth()))
    assert torch.equal(first.picture, shown[0].movedim(0, -1))
    assert torch.equal(first.hidden, structure.tower(reduced(shown))[1][0])
    for seed in range(3, 3 + look_module.CACHED):
        structure.look(smooth(seed)[0].movedim(0, -1))
    asked = place.asked
    structure.look(crops[0])
    assert place.asked == asked + 2  # the memory is bounded


@pytest.mark.timm
def test_a_crop_in_which_nothing_is_kept(files, monkeypatch):
    structure = FaceStructure(*files)
    monkeypatch.setattr(structure.parsing, "forward", lambda pictures: torch.zeros(1, SIZE, SIZE, dtype=torch.int64))
    with pytest.raises(NoFeaturesError, match="saw no eyes, nose, mouth, skin or hair where the face is"):
        structure.look(smooth()[0].movedim(0, -1))


@pytest.mark.timm
def test_without_timm(files, monkeypatch):
    real = builtins.__import__
    for name in [name for name in sys.modules if name.split(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)

    def without(name, *rest):
        if name.split(".")[0] == "timm":
            raise ModuleNotFoundError("No module named 'timm'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingLibraryError, match=r"vision tower needs the library timm, .* No module named 'timm'"):
        VisionTower.load(files[0])


@pytest.mark.timm
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"blocks": 12}, r"it has 12 blocks and reads pictures of 336 pixels"),
        ({"side": 224}, r"it has 24 blocks and reads pictures of 224 pixels"),
    ],
)
def test_a_tower_of_another_size(tmp_path, change, says):
    with pytest.raises(WrongStructureFileError, match=rf"eva\.pt is not the vision tower.*{says}"):
        VisionTower.load(saved(tower_state(**change), tmp_path / "eva.pt"))


@pytest.mark.timm
@pytest.mark.parametrize(
    "name", ["pos_embed", "head.weight", "blocks.3.mlp.w2.weight", "norm.bias", "blocks.0.attn.q_proj.weight"]
)
def test_a_tower_that_lacks_a_tensor(tmp_path, name):
    state = tower_state()
    del state[f"visual.{name}"]
    with pytest.raises(WrongStructureFileError, match=r"not the vision tower.*This file holds \d+ tensors"):
        VisionTower.load(saved(state, tmp_path / "eva.pt"))


@pytest.mark.parametrize("name", ["cp.resnet.conv1.weight", "cp.arm16.conv.bn.running_var", "conv_out.conv_out.weight"])
def test_a_parsing_network_that_lacks_a_tensor(tmp_path, name):
    state = parsing_state()
    del state[name]
    with pytest.raises(WrongStructureFileError, match=r"not the face-parsing network.*" + name.replace(".", r"\.")):
        FaceParsing.load(saved(state, tmp_path / "parsing.pth"))


def test_other_files_are_told(tmp_path):
    with pytest.raises(WrongStructureFileError, match="it tells 11 classes apart"):
        FaceParsing.load(saved(parsing_state(classes=11), tmp_path / "a.pth"))
    with pytest.raises(WrongStructureFileError, match=r"lacks .*cp\.resnet"):
        FaceParsing.load(saved(tower_state(blocks=1), tmp_path / "b.pth"))
    with pytest.raises(WrongStructureFileError, match=r"lacks blocks\.0\.attn\.q_proj\.weight"):
        VisionTower.load(saved(parsing_state(), tmp_path / "c.pth"))
    with pytest.raises(UnreadableFileError, match="empty"):
        (tmp_path / "d.pth").touch()
        FaceParsing.load(tmp_path / "d.pth")
