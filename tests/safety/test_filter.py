"""The filter: what it promises to a service that relies on it."""

import base64
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from facegen.contract import SAFETY_CHECKER_TYPES
from facegen.errors import AlphaChannelError, BadPicturesError, FaceGenError
from facegen.models.safety import checking, redaction
from facegen.models.safety.filter import filter_images
from facegen.models.safety.load import load_checker
from facegen.models.safety.nudenet import NudeNetChecker
from facegen.standalone.photos import save_png
from pictures import SAFE, UNSAFE, DetailChecker, StubChecker, boxed, resize

EACH_TYPE = pytest.mark.parametrize("safety_checker_type", SAFETY_CHECKER_TYPES)
FACES = {"FACE_FEMALE": 0.25, "FACE_MALE": 0.25}  # no photo here is unsafe: faces play that part


@pytest.fixture(scope="module")
def face_checker():
    return NudeNetChecker("CPU", limits=FACES)


@pytest.fixture(scope="module")
def seen():
    """Picture -> what NudeNet's model said of it, for all presets: they differ in what they make of it."""
    return {}


@pytest.fixture
def one_look(model, seen):
    """NudeNet's model is asked once for each picture."""

    def answer(run, names, given):
        ((name, pictures),) = given.items()
        key = hashlib.sha256(pictures.tobytes()).digest()
        if key not in seen:
            seen[key] = run(names, {name: pictures})
        return seen[key]

    model.answer = answer


@pytest.fixture
def portraits(astronaut, t1, tom_hanks):
    """Every real person in the pictures that the libraries bundle: whole pictures, each face alone, and 100 small ones."""
    from skimage import data

    boxes = [d.box for d in NudeNetChecker("CPU", limits=FACES).check(t1)[0].detections]
    alone = [resize(t1[:, y0:y1, x0:x1], 400, 400) for x0, y0, x1, y1 in boxes]
    small = torch.from_numpy(np.ascontiguousarray(data.lfw_subset()[:100])).float()[..., None].expand(-1, -1, -1, 3)
    assert len(alone) == 6
    return [astronaut, t1, tom_hanks, *alone, resize(small, 200, 200)]


@pytest.mark.parametrize("preset", ["default", "lenient"])
def test_real_portraits_pass_bit_for_bit(preset, portraits, one_look):
    checker = load_checker("nudenet", "CPU", preset)
    for pictures in (*portraits, *(resize(p[:10], 512, 512) for p in portraits), portraits[0].half()):
        done = filter_images(pictures, checker)
        assert not any(done.flagged), done.report
        assert torch.equal(done.images, pictures) and done.images.dtype == pictures.dtype
        assert done.images.untyped_storage().data_ptr() != pictures.untyped_storage().data_ptr()
        assert not done.mask.any()


def test_few_real_portraits_are_flagged_by_the_strict_preset(portraits, one_look):
    checker = load_checker("nudenet", "CPU", "strict")
    flags = [flag for pictures in portraits for flag in filter_images(pictures, checker).flagged]
    assert (sum(flags), len(flags)) == (2, 109)  # as its help page says
    assert not any(flags[:3])


SIZES = [(512, 512), (1536, 1024), (200, 200), (300, 900)]


# Each size with each type, and both with each region.
@pytest.mark.parametrize(
    ("size", "safety_checker_type", "region"),
    [
        (size, kind, redaction.REGIONS[(row + column) % 2])
        for row, size in enumerate(SIZES)
        for column, kind in enumerate(SAFETY_CHECKER_TYPES)
    ],
)
def test_the_checker_no_longer_flags_its_own_output(face_checker, astronaut, t1, safety_checker_type, region, size):
    for picture in (resize(astronaut, *size), resize(t1, *size)):
        done = filter_images(picture, face_checker, safety_checker_type, region)
        assert not filter_images(done.images, face_checker).flagged[0]
        assert size[0] != 512 or done.flagged == [True]


@pytest.mark.parametrize("region", redaction.REGIONS)
@EACH_TYPE
def test_nor_do_the_networks_unless_it_is_black(networks, astronaut, t1, tom_hanks, safety_checker_type, region):
    people = torch.cat([resize(picture, 160, 200) for picture in (astronaut, t1, tom_hanks)])
    batch = torch.cat([people, people.flip(1), 1 - people])
    for checker in networks:
        threshold = float(np.median([result.score for result in checker.check(batch)]))  # flags half of them
        done = filter_images(batch, checker, safety_checker_type, region, threshold)
        assert 5 <= sum(done.flagged) < 9  # scores of three decimals may be equal
        for index, again in enumerate(checker.check(done.images)):
            assert again.score < threshold or not done.images[index].any()
            assert done.flagged[index] or torch.equal(done.images[index], batch[index])
            assert not done.flagged[index] or done.mask[index].all()


@pytest.mark.parametrize("side", [8, 64, 512, 2048])
@EACH_TYPE
def test_no_detail_is_left_at_any_size(safety_checker_type, side):
    picture = torch.rand(1, side, side, 3, generator=torch.Generator().manual_seed(0))
    before = filter_images(picture, DetailChecker(), safety_checker_type)
    assert before.flagged == [True] and before.report["pictures"][0]["score"] > 0.9
    assert filter_images(before.images, DetailChecker()).flagged == [False]


@pytest.mark.parametrize("beyond", [lambda p: p + 1, lambda p: p - 1, lambda p: 1.4 * p - 0.2, lambda p: 2 * p], ids=range(4))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_what_is_delivered_is_what_was_judged(astronaut, beyond, dtype):
    """Somebody who divides, shifts or stretches what came through must not find in it what no checker saw."""
    checker, given = StubChecker(SAFE, SAFE), beyond(astronaut.to(dtype))
    done = filter_images(torch.cat([given, given]), checker)
    assert torch.equal(done.images, checker.asked[0]) and done.images.dtype == dtype
    assert done.images.min() >= 0 and done.images.max() <= 1
    assert torch.equal(done.images[:1], given.clamp(0, 1))


@pytest.mark.parametrize(("factor", "values"), [(255, "from 0 to 255"), (-3, "from -3 to -?0")])
def test_pictures_on_another_scale_are_refused(astronaut, factor, values):
    checker = StubChecker(SAFE)
    with pytest.raises(BadPicturesError, match=f"{values}, and 0 to 1 is needed: divide 8-bit values by 255"):
        filter_images(astronaut / astronaut.max() * factor, checker)
    assert not checker.asked


def test_whoever_waits_is_told_of_each_few_pictures_and_may_cancel(astronaut):
    told = []
    batch = astronaut[:, :16, :16].repeat(20, 1, 1, 1)
    checker = StubChecker(*[SAFE] * 19, UNSAFE, SAFE)
    filter_images(batch, checker, "blur", watch=lambda done, of: told.append((done, of)))
    assert told == [(0, 20), (8, 20), (16, 20), (20, 20), (20, 20), (20, 20)]  # the last two while the hidden one is judged
    assert [len(asked) for asked in checker.asked] == [8, 8, 4, 1]

    def cancel(done, of):
        if done:
            raise KeyboardInterrupt

    checker = StubChecker(*[SAFE] * 20)
    with pytest.raises(KeyboardInterrupt):
        filter_images(batch, checker, watch=cancel)
    assert len(checker.asked) == 1


def outcome(done):
    return [(p.get("shown"), p.get("region")) for p in done.report["pictures"]]


def test_what_the_checker_still_flags_is_hidden_more(astronaut):
    batch = astronaut.repeat(5, 1, 1, 1)
    part = boxed((100, 100, 200, 200))
    # Verdicts on: the batch; the four hidden parts; the three hidden whole.
    checker = StubChecker(SAFE, part, part, part, part, SAFE, UNSAFE, UNSAFE, UNSAFE, SAFE, UNSAFE, UNSAFE)
    done = filter_images(batch, checker, "blur", "flagged regions")
    assert [len(asked) for asked in checker.asked] == [5, 4, 3] and not checker.results
    assert done.flagged == [False, True, True, True, True]
    whole, black = ("blur", "whole image"), ("black", "whole image")
    assert outcome(done) == [(None, None), ("blur", "flagged regions"), whole, black, black]
    assert torch.equal(done.images[0], batch[0]) and not done.mask[0].any()
    assert done.mask[1].sum() == 120 * 120 and done.mask[2:].all()
    assert torch.equal(done.images[2:3], redaction.redact(astronaut, [UNSAFE], "blur", "whole image", 0.4)[0])
    assert not done.images[3:].any() and done.images[2].any()


def test_nothing_is_checked_again_without_need(astronaut):
    for verdict, choices, checks in (
        (SAFE, ("blur",), 1),
        (UNSAFE, ("black",), 1),  # nothing of the picture is left
        (UNSAFE, ("blur", "whole image", 0.0), 1),  # threshold 0 flags whatever it sees
        (UNSAFE, ("blur",), 2),
    ):
        checker = StubChecker(verdict, SAFE)
        done = filter_images(astronaut, checker, *choices)
        assert len(checker.asked) == checks
        assert not checking.is_flagged(verdict, 0.4) or outcome(done) == [(choices[0], "whole image")]


def test_errors_let_nothing_through(astronaut):
    with pytest.raises(MemoryError):
        filter_images(astronaut, StubChecker(error=MemoryError()))
    with pytest.raises(FaceGenError, match="0 of 1"):
        filter_images(astronaut, StubChecker())
    with pytest.raises(FaceGenError, match="0 of 1"):  # the second look
        filter_images(astronaut, StubChecker(UNSAFE), "blur")
    for wrong in (("mosaic",), ("black", "faces"), ("black", "whole image", 1.5), ("black", "whole image", 0.4, "")):
        checker = StubChecker(SAFE)
        with pytest.raises(FaceGenError):
            filter_images(astronaut, checker, *wrong)
        assert not checker.asked  # before anything is computed
    with pytest.raises(AlphaChannelError, match="RGB pictures"):
        filter_images(torch.zeros(1, 8, 8, 4), StubChecker(SAFE))


def test_pictures_never_share_memory_with_what_came_in(astronaut):
    wide = torch.cat([astronaut, torch.rand_like(astronaut)], dim=2)
    for verdict in (SAFE, UNSAFE):
        done = filter_images(wide[:, :, :512], StubChecker(verdict, SAFE))
        storage = done.images.untyped_storage()
        assert storage.nbytes() == done.images.numel() * 4  # a view of more could be saved with all of it
        assert storage.data_ptr() != wide.untyped_storage().data_ptr()


def chunks(png: bytes):
    """(type, data) of the chunks of a PNG; what follows the end comes last as type b""."""
    place = 8
    while place < len(png):
        length, kind = int.from_bytes(png[place : place + 4]), png[place + 4 : place + 8]
        yield kind, png[place + 8 : place + 8 + length]
        place += length + 12
        if kind == b"IEND":
            break
    yield b"", png[place:]


@pytest.mark.parametrize("region", redaction.REGIONS)
@EACH_TYPE
def test_a_saved_redaction_holds_nothing_of_the_picture(tmp_path, safety_checker_type, region):
    """No pixel in the picture, in alpha, in EXIF or in a text; pictures of noise, so that every pixel is one of a kind."""
    picture = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(0))
    done = filter_images(picture, StubChecker(boxed((32, 32, 96, 96)), SAFE), safety_checker_type, region)
    path = tmp_path / "redacted.png"
    save_png(done.images[0], path, {"report": done.report})

    with Image.open(path) as image:
        assert image.mode == "RGB" and not image.getexif() and set(image.info) == {"parameters"}
        saved = np.asarray(image)
    hidden = done.mask[0].bool().numpy()
    original = (picture[0].numpy() * 255).round().astype(np.uint8)
    assert hidden[25:103, 25:103].all()
    shown = {tuple(p) for p in saved[hidden].tolist()}
    assert len(shown & {tuple(p) for p in original[hidden].tolist()}) <= 1  # 16 averages may hit a colour by chance
    kinds = [kind for kind, data in chunks(path.read_bytes()) if kind or data]
    assert set(kinds) == {b"IHDR", b"tEXt", b"IDAT", b"IEND"}
    written = path.read_bytes()
    for data in (original.tobytes(), original[40:60, 40:60].tobytes(), *(row.tobytes() for row in original[40:90, 40:80])):
        assert data not in written and base64.b64encode(data)[4:-4] not in written


def test_the_report_has_no_room_for_pixels(face_checker, t1):
    report = filter_images(t1, face_checker, "blur").report
    text = json.dumps(report)
    assert len(text) < 4000 and set(report) == {"checker", "threshold", "pictures"}
    (picture,) = report["pictures"]
    assert set(picture) == {"flagged", "score", "class_scores", "detections", "shown", "region"}
    assert all(set(d) == {"label", "score", "box"} and len(d["box"]) == 4 for d in picture["detections"])


def test_concurrent_graphs_do_not_share_state(face_checker, nudenet, networks, astronaut, t1, tom_hanks):
    work = [
        (picture, checker, safety_checker_type, region)
        for picture in (resize(astronaut, 320, 320), resize(t1, 300, 433), tom_hanks, torch.zeros(2, 64, 64, 3))
        for checker in (face_checker, nudenet, *networks)
        for safety_checker_type, region in (("blur", "whole image"), ("sensitive_content_text", "flagged regions"))
    ]
    alone = [filter_images(*job) for job in work]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: filter_images(*job), work * 2))
    assert {tuple(done.flagged) for done in alone} >= {(True,), (False,), (False, False)}
    for one, other in zip(alone * 2, together, strict=True):
        assert one.report == other.report and one.flagged == other.flagged
        assert torch.equal(one.images, other.images) and torch.equal(one.mask, other.mask)
