"""Training the tiny model: files and networks that compute what was trained."""

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from facegen.models import tiny_files
from facegen.models.face.embeds import FaceEmbeds
from facegen.models.identity.faceid.adapter import FaceIDAdapter
from facegen.tools.tiny_model import shares
from facegen.tools.tiny_model.data import EACH, Drawings
from facegen.tools.tiny_model.drawings.person import STYLES
from facegen.tools.tiny_model.evaluation.evaluate import EnginePortraits
from facegen.tools.tiny_model.evaluation.sampling import Job
from facegen.tools.tiny_model.language import save_tokenizer
from facegen.tools.tiny_model.networks import Recogniser, unet
from facegen.tools.tiny_model.recipe import SMALLEST, Plan, train_all
from facegen.tools.tiny_model.stages import autoencoder, decoder
from facegen.tools.tiny_model.stages.autoencoder import Narrow, widen
from facegen.tools.tiny_model.stages.conditions import Conditions
from facegen.tools.tiny_model.stages.diffusion import FACE, LatentDiffusion, cell_importance
from facegen.tools.tiny_model.stages.faces import SEEN
from facegen.tools.tiny_model.stages.finder import CANVAS, GRID, REACH, Finder, boxes, face_box, middles
from facegen.tools.tiny_model.stages.tokens import train_tokens
from facegen.tools.tiny_model.worker import Worker


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# --- what was trained, in every form --------------------------------------------------------------------------------

PLAN = Plan(
    4,
    recogniser=2,
    clip_vision=1,
    finder=1,
    autoencoder=1,
    decoder=4,  # after which its running mean has moved
    tokens=1,
    diffusion=1,
    adapter=1,
    retouch=4,
    judge=1,
    portraits=1,
    batches=SMALLEST,
)


@pytest.fixture(scope="module", autouse=True)
def small():
    """A quarter of the pixels of what decoders learn from, and a portrait in two steps: nothing is learnt in so few anyway."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (autoencoder, decoder):
            patch.setattr(module, "CROP", module.CROP // 2)
        patch.setattr(decoder, "STEPS", 2)
        yield


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """With drawings, of two processes."""
    folder = tmp_path_factory.mktemp("work")
    save_tokenizer(folder / "tokenizer")
    shares.create(folder / "drawings", PLAN.people)
    for rank in range(2):
        shares.draw_share(folder / "drawings", folder / "tokenizer", 3, "drawings", rank, 2)
    return folder


@pytest.fixture(scope="module")
def drawings(work):
    return Drawings(Worker(work, seed=3), "drawings")


@pytest.fixture(scope="module")
def trained(work, drawings):
    return train_all(Worker(work, seed=3), PLAN)


def test_changed_drawings_show_other_hair_or_glasses(drawings):
    assert drawings.ready == PLAN.people and len(drawings.pictures) == PLAN.people * EACH
    looks = drawings.answers[:, [list(shares.KINDS).index(kind) for kind in ("glasses", "hair")]]
    own = looks[torch.arange(len(looks)) // EACH * EACH]
    differ = (looks != own).any(dim=1)
    changed = drawings.changed.unflatten(0, (PLAN.people, 2, len(STYLES)))
    assert not (differ & ~drawings.changed).any() and differ.any()
    assert not changed[:, 0].any() and not changed[:, 1].all()


def test_drawing_goes_on_where_it_was_stopped(tmp_path, work, monkeypatch):
    monkeypatch.setattr(shares, "draw", lambda *_, size: (np.zeros((size, size, 3), np.uint8), np.zeros((5, 2), np.float32)))
    folder = tmp_path / "drawings"
    shares.create(folder, 5)

    def go_on(rank=0, processes=1):
        shares.draw_share(folder, work / "tokenizer", 3, "drawings", rank, processes)

    (folder / shares.ENOUGH).touch()
    go_on()
    assert shares.drawn(folder) == set()
    (folder / shares.ENOUGH).unlink()
    go_on(1, 2)
    assert shares.drawn(folder) == {1, 3}
    few = Drawings(Worker(tmp_path, 3), "drawings")
    assert few.ready == 0 and few.people == 5
    with open(folder / "drawn.0.txt", "a") as cut:
        cut.write("0\n4")  # stopped in the middle of a line
    few.looked = 0.0
    few.look()
    assert few.ready == 2 and few.count == 2  # the first in a row
    (folder / "drawn.0.txt").unlink()
    go_on()
    few.wait(5)
    assert few.ready == 5 and shares.drawn(folder) == set(range(5))
    assert {int(row) // EACH for row in few.rows(200)} == set(range(5))


def test_photos_show_the_person_as_it_is(drawings):
    people = torch.arange(PLAN.people).repeat(50)
    for view in range(2):
        rows = drawings.photos(people, torch.full_like(people, view))
        assert torch.equal(rows // EACH, people) and not drawings.changed[rows].any()
        changed = drawings.changed.unflatten(0, (PLAN.people, 2, len(STYLES)))[people, view].all(dim=1)
        assert torch.equal(rows // len(STYLES) % 2, torch.where(changed, 0, view))
    rows = drawings.as_they_are(people)
    assert torch.equal(rows // EACH, people) and not drawings.changed[rows].any() and len(rows.unique()) > PLAN.people
    assert sorted(drawings.someone(PLAN.people).tolist()) == list(range(PLAN.people))


def test_a_finished_training_is_not_done_again(work, trained, monkeypatch):
    monkeypatch.setattr(torch.optim, "AdamW", None)
    again = train_all(Worker(work, seed=3), PLAN)
    for name in ("recogniser", "finder", "vision", "autoencoder", "diffusion", "judge"):
        mine, other = (getattr(t, name).state_dict() for t in (trained, again))
        assert [key for key in mine if not torch.equal(mine[key], other[key])] == [] and mine.keys() == other.keys()


def test_the_last_stages_leave_the_encoder_as_it_is(work, trained):
    """The UNet knows its latents; each stage goes on with the decoder of the one before."""
    stages = [torch.load(work / f"{name}.pt", weights_only=True) for name in ("autoencoder", "decoder", "retouch")]
    for before, after in pairwise(stages):
        changed = {
            name for name, tensor in before.items() if name.startswith("narrow.") and not torch.equal(after[name], tensor)
        }
        assert {name.split(".")[1] for name in changed} == {"decoder"}
    shipped = {f"narrow.{name}": tensor for name, tensor in trained.autoencoder.state_dict().items()}
    assert all(torch.equal(stages[-1][name], tensor) for name, tensor in shipped.items())


def test_a_model_s_files_are_measured_with_the_face_as_asked(drawings):
    """By the engine, as `--evaluate` does: who is shown, and how much of the face's structure, decide what is drawn."""
    portraits = EnginePortraits(tiny_files.TINY, drawings, steps=2)
    asked = {"weight": 0.0}, {"weight": 1.0}, {"weight": 1.0, "s_scale": 0.0}
    nobody, somebody, unposed = portraits.draw([Job(1, "realistic", "a portrait", 7, **one) for one in asked])
    assert portraits.gallery.shape == (PLAN.people, 512) and nobody.shape == (3, 256, 256)
    assert (nobody - somebody).abs().mean() > 2 and (somebody - unposed).abs().mean() > 0.5


@pytest.mark.parametrize(("seed", "plan"), [(4, PLAN), (3, Plan())], ids=["seed", "plan"])
def test_a_folder_of_another_training_is_refused(work, trained, seed, plan):
    with pytest.raises(ValueError, match="a training of another seed or plan"):
        train_all(Worker(work, seed=seed), plan)


def test_export_writes_all_files_and_leaves_others(trained, tmp_path):
    from facegen.tools.tiny_model.export.files import export

    out = tmp_path / "tiny"
    (out / "ipadapter").mkdir(parents=True)
    (out / "README.md").write_text("mine")
    (out / tiny_files.FACEID).write_text("an older one")
    export(trained, out)
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    assert files.keys() == {*tiny_files.FILES, "SHA256SUMS", "README.md"} and [*tmp_path.iterdir()] == [out]
    assert files.pop("README.md").read_text() == "mine"
    sums = files.pop("SHA256SUMS").read_text(encoding="utf-8")
    assert sorted(sums.splitlines()) == sorted(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {n}" for n, p in files.items())
    export(trained, tmp_path / "again")
    assert (tmp_path / "again" / "SHA256SUMS").read_text(encoding="utf-8") == sums
    assert FaceIDAdapter(out / tiny_files.FACEID).variant.clip_dim == 64


def randomised(module: nn.Module) -> nn.Module:
    """With weights that keep what is seen as strong as it was, and other biases and statistics than those of the start."""
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if "running_var" in name:
                tensor.uniform_(0.5, 2)
            elif tensor.ndim == 1:
                tensor.normal_(1.0 if name.endswith("weight") else 0.0, 0.1)
            elif tensor.ndim > 1:
                nn.init.kaiming_normal_(tensor)
    return module.eval()


@torch.no_grad()
def test_the_wide_autoencoder_computes_what_the_narrow_one_does():
    from diffusers import AutoencoderTiny

    narrow, wide = randomised(Narrow()), AutoencoderTiny().eval()
    wide.load_state_dict(widen(narrow))
    pictures = torch.rand(2, 3, 64, 64) * 2 - 1
    latents = narrow.encode(pictures)
    assert latents.shape == (2, 4, 8, 8) and latents.std() > 1e-2
    assert torch.allclose(wide.encode(pictures).latents, latents, atol=1e-5, rtol=1e-5)
    drawn = narrow.decode(latents)
    assert drawn.shape == pictures.shape and drawn.std() > 1e-2
    assert torch.allclose(wide.decode(latents).sample, drawn, atol=1e-5, rtol=1e-5)


def onnx_session(path: Path):
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@torch.no_grad()
def test_the_recogniser_s_file_computes_what_was_trained(tmp_path):
    from facegen.tools.tiny_model.export.onnx_recogniser import LENGTH, save_recogniser

    network = randomised(Recogniser())
    save_recogniser(tmp_path / "w.onnx", network)
    faces = torch.rand(4, 3, 112, 112) * torch.tensor([2, 1, 0.5, 0.1]).view(4, 1, 1, 1) - 1
    wanted = F.normalize(network(faces), dim=-1)
    given = torch.from_numpy(onnx_session(tmp_path / "w.onnx").run(None, {"input.1": faces.numpy()})[0])
    assert given.shape == (4, 512) and torch.allclose(given.norm(dim=-1), torch.full((4,), LENGTH), atol=1e-3)
    off, apart = (given / LENGTH - wanted).norm(dim=-1).max(), torch.pdist(wanted).min()
    assert off < 1e-2 and off < 0.1 * apart


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(96, 96), (192, 128), (128, 256)])
def test_the_detector_s_file_gives_the_faces_that_the_finder_sees(tmp_path, height, width):
    from facegen.tools.tiny_model.export.onnx_detector import save_detector

    finder = randomised(Finder())
    finder.head.bias[0] = 2.0  # sure of a face, so that it isn't looked for in another way
    save_detector(tmp_path / "det.onnx", finder)
    picture = F.interpolate(torch.rand(1, 3, height // 16, width // 16) * 255, size=(height, width), mode="bicubic").clamp(
        0, 255
    )
    session = onnx_session(tmp_path / "det.onnx")
    outputs = session.run(None, {"input.1": ((picture - 127.5) / 128).numpy()})
    given = dict(zip([output.name for output in session.get_outputs()], outputs, strict=True))

    side, cells = max(height, width), GRID * GRID
    square = F.pad(picture, (0, side - width, 0, side - height))
    canvas = F.interpolate(square, size=(CANVAS, CANVAS), mode="bilinear", antialias=True)
    seen = finder((canvas - 127.5) / 128).flatten(2)[0].T
    wanted = (seen[:, 1:].unflatten(1, (7, 2)) * REACH + torch.from_numpy(middles())[:, None]) * (side / CANVAS)

    logits = seen[:, 0].view(1, GRID, GRID)
    best = logits == F.max_pool2d(logits, 5, 1, 2)  # a face is reported once
    scores = torch.where(best, logits.sigmoid(), 0).flatten().numpy()
    assert 1 < (scores > 0).sum() < cells / 4 and np.abs(given["score_8"][:cells, 0] - scores).max() < 5e-3
    rows = np.arange(cells) // 2  # two anchors per cell of stride 8
    anchors = np.stack([rows % (width // 8), rows // (width // 8)], axis=-1)[:, None]
    distances = np.concatenate([given["bbox_8"][:cells] * [-1, -1, 1, 1], given["kps_8"][:cells]], axis=1)
    places = (distances.reshape(cells, 7, 2) + anchors) * 8
    assert np.abs(places - wanted.numpy()).max() < 0.01 * side
    for stride in (8, 16, 32):
        anchors = height * width * 2 // stride**2
        for kind, columns in (("score", 1), ("bbox", 4), ("kps", 10)):
            assert given[f"{kind}_{stride}"].shape == (anchors, columns)
            assert not given[f"{kind}_{stride}"][cells if stride == 8 else 0 :].any()


def test_boxes_are_those_of_one_face(drawings):
    points = drawings.points[:7]
    assert np.allclose(boxes(points), np.stack([face_box(p) for p in points.numpy()]), atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize(("weight", "s_scale"), [(1.0, 0.0), (0.7, 0.0), (0.7, 1.0)])
def test_the_trained_network_predicts_what_the_engine_s_does(tmp_path, weight, s_scale):
    from safetensors.torch import save_file

    from facegen.models.identity.shown import Shown
    from facegen.standalone.identity import apply_faceid

    diffusion, network = LatentDiffusion(600).eval(), unet().eval()
    network.load_state_dict(diffusion.unet.state_dict())
    diffusion.with_lora = True
    for name, tensor in diffusion.adapter.weights.items():
        if name.endswith("_lora.up.weight"):
            tensor.normal_(0, 0.1)
    save_file({name: tensor.detach() for name, tensor in diffusion.adapter.weights.items()}, tmp_path / "a.safetensors")
    identity, states, nothing = torch.randn(1, 512), torch.randn(1, 257, 64), torch.randn(1, 257, 64)
    latents, context, steps = torch.randn(2, 4, 16, 16), torch.randn(2, 77, 64), torch.tensor([500, 500])

    def predict(weight, s_scale):
        """First without a person, as a guided pipeline does, then with."""
        both = torch.cat([torch.zeros_like(identity), F.normalize(identity)]), torch.cat([nothing, states])
        diffusion.look(*both, *(torch.full((2,), value) for value in (s_scale, weight)))
        return diffusion.unet(latents, steps, context).sample

    face = FaceEmbeds(identity, states, nothing)
    apply_faceid(network, FaceIDAdapter(tmp_path / "a.safetensors"), [Shown(face, weight, s_scale)])
    given, wanted = network(latents, steps, context).sample, predict(weight, s_scale)
    others = [predict(weight + 0.1, s_scale), predict(weight, s_scale + 0.2)]
    diffusion.with_lora = False
    others.append(predict(weight, s_scale))
    matters = min((other - wanted)[1].norm() for other in others)
    assert (given - wanted).flatten(1).norm(dim=1).max() < 0.02 * matters


def test_the_cells_around_a_face_count_more_than_the_others(drawings):
    points = drawings.points[[3, 28]]
    importance = cell_importance(points, 32)
    assert importance.shape == (2, 1, 32, 32) and torch.allclose(importance.mean(dim=(2, 3)), torch.ones(2, 1))
    rows = importance[1, 0]
    others = rows[0, 0]
    assert all(rows[int(y) // 8, int(x) // 8] == pytest.approx(FACE * others) for x, y in points[1].tolist())
    assert (rows[[0, 0, -1, -1], [0, -1, 0, -1]] == others).all() and (rows > others).float().mean() < 0.6


def test_the_loss_is_that_of_each_cell_times_its_importance():
    diffusion = LatentDiffusion(600).eval()
    diffusion.look(torch.randn(2, 512), torch.randn(2, 257, 64), torch.ones(2), torch.ones(2))
    latents, noise = torch.randn(2, 2, 4, 16, 16)
    ids, steps = torch.randint(600, (2, 77)), torch.tensor([100, 900])
    left = torch.zeros(2, 1, 16, 16)
    left[..., :8] = 1
    with torch.no_grad():
        whole, *halves, apart = (
            diffusion.loss(latents, ids, steps, noise, cells).item()
            for cells in (torch.ones_like(left), left, 1 - left, FACE * left)
        )
    assert whole == pytest.approx(sum(halves), rel=1e-4) and apart == pytest.approx(FACE * halves[0], rel=1e-4)
    assert halves[0] != pytest.approx(halves[1], rel=1e-3)


def test_the_face_s_tokens_learn_to_say_who_it_is_and_how_it_is_held(drawings, tmp_path):
    """Read by a linear layer: of identities and states that hold both."""
    people = torch.arange(len(drawings.pictures)) // EACH
    attributes = drawings.attributes[people]
    identities = F.normalize(attributes @ torch.randn(attributes.shape[1], 512), dim=1)
    states = (drawings.structure @ torch.randn(6, 64))[:, None].expand(-1, 257, -1)
    conditions = Conditions(torch.zeros(len(people), 4, 32, 32), identities, states, torch.zeros(257, 64))
    network = train_tokens(Worker(tmp_path, 0), drawings, conditions, LatentDiffusion(600).adapter, 80, 16)
    first = torch.arange(PLAN.people) * EACH
    with torch.no_grad():
        alone, both, held = network(identities[first], states[first])
    who, pose = attributes[first], drawings.held(first, SEEN)
    for found, wanted in ((alone, who), (both, who), (held, pose)):
        assert (found - wanted).square().mean() < 0.3 * wanted.var()


def test_the_tokenizer_is_the_same_each_time(tmp_path):
    """A training that goes on writes it again."""
    folders = [tmp_path / name for name in "abc"]
    sizes = {save_tokenizer(folder) for folder in folders}
    first, *others = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert len(sizes) == 1 and len(first) == 4 and all(other == first for other in others)
