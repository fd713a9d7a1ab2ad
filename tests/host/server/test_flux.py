"""The template and the blueprint of FLUX.1 with PuLID, whole: all of ComfyUI's own loaders, on small files."""

import copy

import numpy as np
import pytest

import workflows
from small_runs import Done, apart, asked, by_place, of_type, placed, put_photos, small

pytestmark = [pytest.mark.newest, pytest.mark.usefixtures("flux_that_runs")]
pytest.importorskip("timm")
TEMPLATE, BLUEPRINT = "portrait_flux_pulid", "Portrait with FLUX"


@pytest.fixture(scope="module", autouse=True)
def photos(server):
    put_photos(server.base / "input")


@pytest.fixture(scope="module")
def object_info(server):
    return server.get("/object_info")


@pytest.fixture(scope="module")
def template():
    return small(workflows.with_photos(workflows.load(f"api/{TEMPLATE}.json")))


@pytest.fixture(scope="module")
def portrait(server, template):
    """What the template draws."""
    return Done(server, template).picture()


CHANGES = {
    "photo": ("LoadImage", {"image": "other.jpg"}),
    "nobody": ("FaceGenApplyPuLID", {"weight": 0.0}),
    "prompt": ("CLIPTextEncode", {"text": "a man with a hat, at sea"}),
    "guidance": ("FluxGuidance", {"guidance": 30.0}),
    "seed": ("RandomNoise", {"noise_seed": 8}),
    "steps": ("BasicScheduler", {"steps": 3}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_all_that_one_sets_counts(server, template, portrait, change):
    assert portrait.shape == (128, 128, 3) and portrait.std() > 5
    kind, inputs = CHANGES[change]
    graph = copy.deepcopy(template)
    (number,) = of_type(graph, kind)
    graph[number]["inputs"] |= inputs
    assert apart(portrait, Done(server, graph).picture()) > 0.3


def blueprint():
    """With the picture saved, and the marked photo shown."""
    return placed(BLUEPRINT, [(0, "SaveImage", "images", ["blueprint"]), (1, "PreviewImage", "images", [])])


def test_the_blueprint_draws_what_the_template_draws(server, object_info, template, portrait):
    """Given the same prompt and seed: to the last bit."""
    (prompt,), (noise,) = of_type(template, "CLIPTextEncode"), of_type(template, "RandomNoise")
    same = {"prompt": template[prompt]["inputs"]["text"], "seed": template[noise]["inputs"]["noise_seed"]}
    done = Done(server, small(workflows.to_api(asked(blueprint(), **same), object_info)))
    assert np.array_equal(done.picture("21"), portrait)
    assert done.picture("22").shape == (512, 512, 3)


GIVEN = {
    "pulid_file": ("a.safetensors", "FaceGenLoadPuLID.pulid_file"),
    "vision_file": ("b.pt", "FaceGenLoadFaceStructure.vision_file"),
    "parsing_file": ("c.pth", "FaceGenLoadFaceStructure.parsing_file"),
    "prompt": ("a woman", "CLIPTextEncode.text"),
    "weight": (0.75, "FaceGenApplyPuLID.weight"),
    "guidance": (4.25, "FluxGuidance.guidance"),
    "width": (832, "EmptySD3LatentImage.width"),
    "height": (1216, "EmptySD3LatentImage.height"),
    "batch_size": (3, "EmptySD3LatentImage.batch_size"),
    "steps": (28, "BasicScheduler.steps"),
    "seed": (1234, "RandomNoise.noise_seed"),
}


def test_each_widget_of_the_blueprint_reaches_its_node_alone(object_info):
    before = by_place(workflows.to_api(blueprint(), object_info))
    assert [name for _, name in blueprint()["nodes"][0]["properties"]["proxyWidgets"]] == list(GIVEN)
    for name, (value, place) in GIVEN.items():
        now = by_place(workflows.to_api(asked(blueprint(), **{name: value}), object_info))
        assert {at: given for at, given in now.items() if given != before[at]} == {place: value}
