"""Each template's thumbnail: what its graph gives, put in place."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import graphs
from graphs import SIZE, Host, of_type
from layout import (
    BESIDE_PHOTO,
    BLUE,
    BOTTOM,
    GREEN,
    GREY,
    LEFT,
    MARGIN,
    MIDDLE,
    ORANGE,
    PURPLE,
    RED,
    TOP,
    WIDTH,
    Thumbnail,
    centred,
    silhouette,
)
from PIL import Image, ImageChops

from modelslab_server import KEY, ModelsLabServer, Reply

TINY_MODEL = "made with the pack's tiny model"
IN_PLACE = f"{TINY_MODEL}, by FaceID in InstantID's place"
OF_PULID = f"{TINY_MODEL}, by FaceID in PuLID's place"
PLACEHOLDER = "the hosted service's picture is a placeholder"
STITCH_GAP = 8  # between pictures that Image Stitch joined
PROFILE = "double"
# As the template browser has them.
TITLES = json.loads((Path(__file__).parents[2] / "web" / "templates.json").read_text(encoding="utf-8"))
RESULT = WIDTH - MARGIN - 300  # left side of a result of 300 pixels


class Template(NamedTuple):
    subtitle: str
    fill: Callable[[Thumbnail, Host], None]
    footer: str = TINY_MODEL
    room: int = WIDTH - 2 * LEFT  # for the title

    def draw(self, name: str, host: Host) -> Thumbnail:
        thumbnail = Thumbnail(TITLES[name]["en"][0], self.subtitle, self.footer, self.room)
        self.fill(thumbnail, host)
        return thumbnail


@contextlib.contextmanager
def hosted_double(base: Path):
    """The hosted service's test double on loopback, which answers with a silhouette, and a profile for it."""
    file = io.BytesIO()
    silhouette(RED).save(file, "PNG")
    with ModelsLabServer() as service:
        service.files["/result/a"] = [Reply(file.getvalue())]
        profiles = base / "user" / "facegen" / "modelslab.json"
        profiles.touch(0o600)
        profiles.write_text(json.dumps({PROFILE: {"key": KEY, "base_url": service.url}}))
        yield


def remote(name: str) -> dict:
    """The template's graph with the double in the hosted service's place."""
    graph = graphs.load(name)
    (number,) = of_type(graph, "FaceGenModelsLab")
    graph[number]["inputs"]["profile"] = PROFILE
    return graph


def cells(row: Image.Image, count: int) -> list[Image.Image]:
    """The pictures that Image Stitch put side by side."""
    step = (row.width + STITCH_GAP) / count
    return [row.crop((round(n * step), 0, round(n * step) + round(step) - STITCH_GAP, row.height)) for n in range(count)]


def through(thumbnail: Thumbnail, host: Host, text: str, colour: tuple) -> tuple:
    """The photo, and an arrow to a box; returns the box."""
    photo = thumbnail.picture(host.photo(), centred(MARGIN + 4, 200), BLUE)
    box = thumbnail.box(text, centred(photo[0] + 200 + 50, 144, 110), colour)
    thumbnail.between(photo, box)
    return box


def single(name: str, text: str, colour: tuple = GREEN) -> Callable[[Thumbnail, Host], None]:
    """One photo, one picture."""

    def fill(thumbnail, host):
        (picture,) = host.saved(remote(name) if colour == RED else graphs.load(name))
        box = through(thumbnail, host, text, colour)
        thumbnail.between(box, thumbnail.picture(picture, centred(RESULT, 300)))

    return fill


def instantid(name: str) -> Callable[[Thumbnail, Host], None]:
    """One photo, the key points of a face in it, one picture."""

    def fill(thumbnail, host):
        (picture,) = host.saved(graphs.load(name))
        photo = thumbnail.picture(host.photo(), centred(MARGIN + 4, 200), BLUE)
        points = thumbnail.picture(host.keypoints(), centred(photo[0] + 200 + 50, 144), GREEN)
        thumbnail.between(photo, points)
        thumbnail.between(points, thumbnail.picture(picture, centred(RESULT, 300)))

    return fill


def try_without_models(thumbnail, host):
    pictures = host.saved(graphs.load("try_without_models"))
    box = through(thumbnail, host, "tiny\nmodel", GREEN)
    thumbnail.between(box, thumbnail.grid(pictures, centred(RESULT, 300), 2))


def save_and_reuse_face(thumbnail, host):
    name = "save_and_reuse_face"
    host.run(graphs.load(name))
    (file,) = (host.base / "user" / "facegen" / "faces").iterdir()
    lower = graphs.lower_group(name, host.object_info())
    (load,) = of_type(lower, "FaceGenLoadFaceEmbeds")
    lower[load]["inputs"]["face_file"] = file.name
    pictures = host.saved(lower, samples=4)
    photo = thumbnail.picture(host.photo(), centred(MARGIN + 4, 180), BLUE)
    box = thumbnail.box("face_00001_\n.safetensors", centred(photo[0] + 180 + 42, 168, 110), BLUE)
    thumbnail.between(photo, box)
    thumbnail.between(box, thumbnail.grid(pictures, centred(RESULT, 300), 2))


def five_styles(thumbnail, host):
    graph = graphs.load("five_styles")
    names = [graph[number]["inputs"]["style"] for number in of_type(graph, "FaceGenStyle")]
    thumbnail.row(host.photo(), host.saved(graph), names, [BLUE, RED, GREEN, ORANGE, PURPLE])


def s_scale_sweep(thumbnail, host):
    graph = graphs.load("s_scale_sweep")
    values = [graph[number]["inputs"]["s_scale"] for number in of_type(graph, "FaceGenSampler")]
    (row,) = host.saved(graph)
    labels = [f"{value:g}" for value in values]
    thumbnail.row(host.photo(), cells(row, len(values)), labels, [GREY, GREY, PURPLE, PURPLE, PURPLE])


def safety_actions(thumbnail, host):
    graph = graphs.load("safety_actions")
    pictures = host.run(graph)
    shown = [pictures[number][0] for number in of_type(graph, "PreviewImage")]
    thumbnail.row(host.photo(), shown, ["black", "blur", "pixelate", "notice"], [ORANGE] * 4)


def best_of_n_likeness(thumbnail, host):
    """The graph's own two, and the eight that they are among: four rounds of two."""
    graph = graphs.load("best_of_n_likeness")
    (sampler,) = of_type(graph, "FaceGenSampler")
    inputs = graph[sampler]["inputs"]
    kept = host.saved(graph)
    drawn = []
    for number in range(inputs["candidates"] // inputs["samples"]):
        drawn += host.saved(graph, candidates=1, seed=inputs["seed"] + number)
    colours = [GREEN if any(apart(one, best) < 2 for best in kept) else GREY for one in drawn]
    photo = thumbnail.picture(host.photo(), centred(MARGIN, 140), BLUE)
    grid = thumbnail.grid(drawn, centred(206, 396), 4, colours)
    best = thumbnail.grid(kept, centred(WIDTH - MARGIN - 130, 130), 1, [GREEN])
    thumbnail.between(photo, grid)
    thumbnail.between(grid, best)


def judge_any_model(thumbnail, host):
    """Judged as in the graph; the pictures are the tiny model's, in the place of Qwen-Image-Edit's."""
    judged, drawn = graphs.load("judge_any_model"), graphs.load("best_of_n_likeness")
    (judge,), (likeness,), (sampler,) = (
        of_type(graph, kind)
        for graph, kind in ((judged, "FaceGenLikeness"), (drawn, "FaceGenLikeness"), (drawn, "FaceGenSampler"))
    )
    drawn[sampler]["inputs"] |= {"candidates": 1, "samples": 4}
    drawn[likeness]["inputs"]["keep"] = judged[judge]["inputs"]["keep"]
    drawn["all"] = {"class_type": "PreviewImage", "inputs": {"images": [sampler, 0]}}
    pictures = host.run(drawn)
    (save,) = of_type(drawn, "SaveImage")
    colours = [GREEN if any(apart(one, best) < 2 for best in pictures[save]) else GREY for one in pictures["all"]]
    box = through(thumbnail, host, "any\nmodel", PURPLE)
    thumbnail.between(box, thumbnail.grid(pictures["all"], centred(RESULT, 300), 2, colours))


def apart(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two pictures, in levels of 255."""
    counts = ImageChops.difference(one, other).convert("L").histogram()
    return sum(level * count for level, count in enumerate(counts)) / sum(counts)


def several_photos_one_person(thumbnail, host):
    (picture,) = host.saved(graphs.load("several_photos_one_person"))
    box = thumbnail.box("Combine\nFaces", centred(236, 134, 110))
    for place, name in enumerate(("face", "face_2", "face_3")):
        photo = thumbnail.picture(host.photo(name), (64, TOP + place * 112, 100, 100), BLUE)
        height = photo[1] + photo[3] / 2
        thumbnail.arrow((photo[0] + 112, height), (box[0] - 9, MIDDLE + (height - MIDDLE) / 3))
    thumbnail.between(box, thumbnail.picture(picture, centred(RESULT, 300)))


def two_people(name: str) -> Callable[[Thumbnail, Host], None]:
    """Two photos, two masks, one picture."""
    return lambda thumbnail, host: _two_people(thumbnail, host, name)


def _two_people(thumbnail, host, name):
    graph = graphs.load(name)
    for number in of_type(graph, "FaceGenStyle"):
        graph[number]["inputs"]["style"] = "anime"
    for number in of_type(graph, "KSampler"):
        graph[number]["inputs"]["seed"] = 6  # most others give one person: the tiny model knows square portraits alone
    applied = of_type(graph, "FaceGenApplyFaceID")
    masks = [graphs.preview(graph, graph[number]["inputs"]["mask"]) for number in applied]
    pictures = host.run(graph)
    (both,) = (pictures[number][0] for number in of_type(graph, "SaveImage"))
    result = thumbnail.picture(both, centred(WIDTH - MARGIN - 384, 384, 192))
    for place, (name, mask) in enumerate(zip(("person_left", "person_right"), masks, strict=True)):
        colour, middle = (BLUE, ORANGE)[place], MIDDLE + (-82, 82)[place]
        photo = thumbnail.picture(host.photo(name), (MARGIN + 4, middle - 64, 128, 128), colour)
        shown = thumbnail.picture(pictures[mask][0], (photo[0] + 128 + 46, middle - 32, 128, 64), colour)
        thumbnail.between(photo, shown)
        end = result[0] - 9, MIDDLE + (-40, 40)[place]
        thumbnail.arrow((shown[0] + 128 + 12, middle), end)


def second_pass(host: Host) -> tuple[Image.Image, Image.Image]:
    """The first pass and the second, both at the one size of which the tiny model knows faces."""
    graph = graphs.load("second_pass_face_detail")
    (scale,) = of_type(graph, "ImageScaleBy")
    graph[scale]["inputs"]["scale_by"] = 1.0
    pictures = host.run(graph)
    (save,) = of_type(graph, "SaveImage")
    return pictures[of_type(graph, "PreviewImage")[0]][0], pictures[save][0]


def second_pass_face_detail(thumbnail, host):
    before, after = second_pass(host)
    changed = ImageChops.difference(before, after).convert("L").point(lambda level: 255 * (level > 12)).getbbox()
    photo = thumbnail.picture(host.photo(), centred(MARGIN + 4, 160), BLUE)
    first = thumbnail.picture(before, centred(photo[0] + 160 + 46, 232), PURPLE)
    second = thumbnail.picture(after, centred(WIDTH - MARGIN - 236, 232), GREY)
    for box in (first, second) if changed else ():
        scale = box[2] / SIZE
        corners = [box[index % 2] + scale * side for index, side in enumerate(changed)]
        thumbnail.draw.ellipse(corners, outline=ORANGE, width=4)
    thumbnail.between(photo, first)
    thumbnail.between(first, second)


def local_vs_remote(thumbnail, host):
    (row,) = host.saved(remote("local_vs_remote"))
    photo = thumbnail.picture(host.photo(), centred(MARGIN + 4, 200), BLUE)
    results = cells(row, 2)
    side = (BOTTOM - TOP - 16) / 2
    for place, (text, colour) in enumerate((("here", GREEN), ("ModelsLab", RED))):
        top = TOP + place * (side + 16)
        box = thumbnail.box(text, (340, top + (side - 90) / 2, 168, 90), colour)
        height = box[1] + box[3] / 2
        thumbnail.arrow((photo[0] + 200 + 14, MIDDLE + (height - MIDDLE) / 3), (box[0] - 9, height))
        thumbnail.between(box, thumbnail.picture(results[place], (590, top, side, side), colour))


TEMPLATES = {
    "best_of_n_likeness": Template("generated, measured, the most alike kept", best_of_n_likeness),
    "five_styles": Template("the same prompt and seed", five_styles),
    "headshot_instantid": Template("a face, and a pose to put it in", instantid("headshot_instantid"), IN_PLACE),
    "headshot_pulid_sdxl": Template("a face, as PuLID sees it", single("headshot_pulid_sdxl", "PuLID\nSDXL"), OF_PULID),
    "headshot_sdxl": Template("1024 x 1024 pixels", single("headshot_sdxl", "FaceID\nSDXL")),
    "judge_any_model": Template(
        "the two that look most like the person kept",
        judge_any_model,
        f"{TINY_MODEL} in place of Qwen-Image-Edit",
    ),
    "local_vs_remote": Template(
        "the same photo and prompt, side by side",
        local_vs_remote,
        f"{TINY_MODEL}; {PLACEHOLDER}",
    ),
    "modelslab_remote": Template(
        "your photo is sent to ModelsLab",
        single("modelslab_remote", "ModelsLab\nAPI", RED),
        PLACEHOLDER,
    ),
    "portrait_flux_pulid": Template("a photo and a prompt", single("portrait_flux_pulid", "PuLID\nFLUX.1"), OF_PULID),
    "portrait_sd15": Template("a photo, a prompt and a style", single("portrait_sd15", "FaceID\nand style")),
    "s_scale_sweep": Template("the same face, prompt and seed", s_scale_sweep, room=BESIDE_PHOTO),
    "safety_actions": Template(
        "black, blur, pixelate, notice", safety_actions, "the person is drawn by the pack", BESIDE_PHOTO
    ),
    "save_and_reuse_face": Template("saved once, then no photo is needed", save_and_reuse_face),
    "second_pass_face_detail": Template("only the face is generated again", second_pass_face_detail),
    "several_photos_one_person": Template("the mean of three faces", several_photos_one_person),
    "try_without_models": Template("the small model that ships with the pack", try_without_models),
    "two_people_instantid": Template("each has a mask, and points for the face", two_people("two_people_instantid"), IN_PLACE),
    "two_people_masks": Template("each where its mask is white", two_people("two_people_masks")),
}
