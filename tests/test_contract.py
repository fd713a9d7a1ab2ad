"""The request: the contract's names, ranges and defaults."""

import pytest

from facegen.contract import FIELDS, STYLES, ContractError, FaceGenRequest, known_styles
from facegen.nodes.host.widgets import widget

GOOD = {"prompt": "pretty woman", "face_image": "https://example.com/face.jpg"}


def test_defaults_and_names():
    request = FaceGenRequest(**GOOD)
    assert request.as_dict() == {
        **GOOD,
        "negative_prompt": "",
        "width": 512,
        "height": 512,
        "num_inference_steps": 31,
        "guidance_scale": 7.5,
        "style": "realistic",
        "s_scale": 1.0,
        "samples": 1,
        "safety_checker": True,
        "safety_checker_type": "black",
        "base64": False,
        "seed": None,
        "webhook": None,
        "track_id": None,
    }
    assert list(FIELDS) == list(request.as_dict().keys())
    assert all(field.description for field in FIELDS.values())


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 64, "height": 768},
        {"s_scale": 0},
        {"s_scale": 2.0},
        {"num_inference_steps": 41},
        {"guidance_scale": 20},
        {"seed": 2**64 - 1},
        {"track_id": 7},
        {"track_id": "video_001"},
        {"samples": 2},
        {"style": "3d"},
    ],
)
def test_within_the_contract(changes):
    request = FaceGenRequest(**GOOD | changes)
    assert all(getattr(request, name) == value for name, value in changes.items())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prompt": " "}, "prompt field is required"),
        ({"face_image": None}, "face_image field is required"),
        ({"width": 513}, "between 64 and 512, got 513"),
        ({"height": 776}, "between 64 and 768"),
        ({"width": 500}, "multiple of 8"),
        ({"width": "512"}, "type integer, got '512'"),
        ({"width": True}, "type integer"),
        ({"num_inference_steps": 20}, "between 21 and 41, got 20"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
        ({"s_scale": 7.5}, "between 0 and 2, got 7.5"),
        ({"s_scale": float("inf")}, "s_scale"),
        ({"style": " "}, "style field is required"),
        ({"style": 3}, "style field must be of type string, got 3"),
        ({"samples": 3}, "between 1 and 2"),
        ({"safety_checker": "yes"}, "type bool"),
        ({"safety_checker_type": "red"}, "black, blur, pixelate"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, f"between 0 and {2**64 - 1}, got {2**64}\\."),
        ({"seed": 10**5000}, "too long to write"),
        ({"guidance_scale": 20.0000001}, "between 1 and 20, got 20.0000001"),
        ({"s_scale": 10**400}, "between 0 and 2, got 1000"),
        ({"track_id": [1]}, r"string or integer, got \[1\]"),
        ({"track_id": {}}, "string or integer"),
        ({"track_id": True}, "string or integer"),
        ({"track_id": 1.5}, "string or integer"),
        ({"height": 768, "samples": 2}, "samples field must be 1 at 512x768"),
    ],
)
def test_outside_the_contract(changes, says):
    with pytest.raises(ContractError, match=says) as error:
        FaceGenRequest(**GOOD | changes)
    assert list(error.value.errors)[-1] in changes


def test_a_style_of_one_s_own_is_checked_by_whoever_makes_the_pictures():
    assert FaceGenRequest(**GOOD | {"style": "oil"}).style == "oil"
    assert known_styles().problem("oil") == "The style field must be one of realistic, anime, 3d, chibi, comic, got 'oil'."
    assert known_styles(["oil"]).problem("oil") is None and FIELDS["style"].choices == STYLES


def test_a_widget_states_what_the_contract_does():
    steps, style = FIELDS["num_inference_steps"], FIELDS["style"]
    assert widget("num_inference_steps", step=10) == {
        "default": 31,
        "min": 21,
        "max": 41,
        "step": 10,
        "tooltip": steps.description,
    }
    assert widget("style") == {"default": "realistic", "options": list(STYLES), "tooltip": style.description}
    assert widget("width", max=8192, tooltip="x") == {"default": 512, "min": 64, "max": 8192, "step": 8, "tooltip": "x"}
    assert widget("prompt") == {"tooltip": FIELDS["prompt"].description}  # it has no default


def test_every_problem_is_named_at_once():
    with pytest.raises(ContractError) as error:
        FaceGenRequest(prompt="", face_image="", width=0)
    assert set(error.value.errors) == {"prompt", "face_image", "width"}
