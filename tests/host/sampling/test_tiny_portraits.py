"""What the nodes are for, on the tiny model inside ComfyUI: the right person, where and as much as asked."""

import json

import pytest
import torch

from tiny_people import PROMPT, identity, nearest, photos

STEPS = 7  # who it is and in which style is decided in the first
SIZE = {"width": 256, "height": 256, "num_inference_steps": STEPS, "guidance_scale": 2.0}
SMALL = {"width": 192, "height": 192}  # where nobody has to be known from others
PEOPLE = 6
SHOWN = 3  # of them have portraits

pytestmark = pytest.mark.newest


@pytest.fixture(scope="module")
def tiny(run):
    names = ("model", "clip", "vae", "clip_vision", "faceid", "face_analysis")
    return dict(zip(names, run("FaceGenLoadTinyModel"), strict=True))


@pytest.fixture(scope="module")
def face(run, tiny):
    """face(photos) -> FACE_EMBEDS"""

    def embed(pictures):
        parts = {name: tiny[name] for name in ("face_analysis", "clip_vision")}
        return run("FaceGenEmbedFace", **parts, image=pictures)[0]

    return embed


@pytest.fixture(scope="module")
def gallery(face):
    """Who they are, from other photos than those that portraits are generated from."""
    with torch.inference_mode():
        return torch.cat([face(photos(n, first=1)).normed_identity for n in range(PEOPLE)])


@pytest.fixture(scope="module")
def generate(run, tiny):
    """generate(face embeds, style, …) -> pictures [B, 256, 256, 3]"""

    def sample(embeds, style="realistic", prompt=PROMPT, **inputs):
        parts = {name: tiny[name] for name in ("model", "clip", "vae", "faceid")}
        look = run("FaceGenStyle", style=style, prompt=prompt)[0]
        return run("FaceGenSampler", **parts, face_embeds=embeds, style=look, **{"seed": 5, **SIZE, **inputs})[0]

    return sample


def share(values):
    values = list(values)
    return sum(values) / len(values)


def test_the_right_person_at_weight_1_and_nobody_in_particular_at_0(tiny, face, generate, gallery):
    hits = {}
    for weight in (1.0, 0.0):
        pictures = [generate(face(photos(n)), "realistic", faceid_weight=weight, seed=n)[0] for n in range(SHOWN)]
        hits[weight] = share(found == n for n, found in enumerate(nearest(tiny["face_analysis"], pictures, gallery)))
    assert hits[1.0] >= 0.8 and hits[0.0] <= 0.35


def test_two_masked_people_each_in_their_half(run, tiny, face):
    """Side by side in a picture twice as wide as the model's own, where not every seed gives a face on the right."""
    import nodes

    left, right, seed = 1, 0, 8
    left_half = torch.zeros(1, 256, 512)
    left_half[..., :256] = 1
    model = tiny["model"]
    for number, mask in ((left, left_half), (right, 1 - left_half)):
        model = run("FaceGenApplyFaceID", model=model, faceid=tiny["faceid"], face_embeds=face(photos(number)), mask=mask)[0]
    _, *texts = run("FaceGenStyle", style="anime", prompt=f"{PROMPT}, blue background")
    positive, negative = (nodes.CLIPTextEncode().encode(tiny["clip"], text)[0] for text in texts)
    empty = nodes.EmptyLatentImage().generate(512, 256, 1)[0]
    (sampled,) = nodes.KSampler().sample(model, seed, STEPS, 2.0, "dpmpp_2m", "karras", positive, negative, empty, 1.0)
    both = nodes.VAEDecode().decode(tiny["vae"], sampled)[0][0]

    known = torch.stack([identity(tiny["face_analysis"], photos(number, first=1)[0]) for number in (left, right)])
    seen = torch.stack([identity(tiny["face_analysis"], half) for half in both.split(256, dim=1)])
    cosines = seen @ known.T
    assert (cosines.diag() > 0.4).all() and (cosines.flip(1).diag() < 0.3).all(), cosines


def test_the_best_of_several_is_more_alike(run, tiny, face, generate):
    embeds = face(photos(0))
    judge = {name: tiny[name] for name in ("face_analysis",)}

    def likeness(pictures):
        _, best, report = run("FaceGenLikeness", image=pictures, **judge, face_embeds=embeds, keep=len(pictures))
        return best, [entry["cosine"] for entry in json.loads(report)]

    one = generate(embeds, "comic", seed=11, **SMALL)
    best = generate(embeds, "comic", seed=11, candidates=2, **judge, **SMALL)
    assert best.shape == one.shape
    every = [likeness(picture)[1][0] for picture in (one, generate(embeds, "comic", seed=12, **SMALL))]
    assert likeness(best)[1][0] == pytest.approx(max(every), abs=1e-3)
    assert max(every) > share(every) + 0.01


def test_styles_differ_and_the_safety_filter_passes_them(run, face, generate):
    embeds = face(photos(1))
    pictures = torch.cat([generate(embeds, style, **SMALL) for style in ("realistic", "3d", "comic")])
    assert all((a - b).abs().mean() > 0.03 for i, a in enumerate(pictures) for b in pictures[:i])
    checker = run("FaceGenLoadSafetyChecker")[0]
    shown, _, flagged, _ = run("FaceGenSafetyFilter", image=pictures, safety_checker=checker)
    assert not flagged and torch.equal(shown, pictures)


def test_the_words_of_the_prompt_count(face, generate):
    """A background's colour, where no face acts: blue is bluer, and red redder, than the other."""
    embeds = face(photos(2))
    red, blue = (generate(embeds, "anime", f"a portrait, {word} background", **SMALL) for word in ("red", "blue"))
    corners = [picture[:, :18].reshape(-1, 18 * 192, 3).mean(dim=1) for picture in (red, blue)]
    assert (corners[0][:, 0] > corners[1][:, 0]).all() and (corners[0][:, 2] < corners[1][:, 2]).all()
