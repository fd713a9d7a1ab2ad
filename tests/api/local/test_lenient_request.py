"""Loosely written requests are read exactly; what is moved into range is said."""

import pytest

from facegen.api.download import Guard
from facegen.api.local.incoming.lenient_request import read_request
from facegen.contract import ENDPOINTS, NOTICE_TEXT, ContractError, FaceGenRequest

FACE_GEN, HEAD_SHOT, FLUX = (ENDPOINTS[f"/v6/image_editing/{name}"] for name in ("face_gen", "head_shot", "flux_headshot"))
MAKE_GEN = ENDPOINTS["/v1/enterprise/face_gen/make_gen"]
MINIMAL = {"prompt": "a sailor", "face_image": "https://example.org/face.jpg"}


SDK = "which the Python SDK sends when it is left out"
NESTED: list = []  # more deeply than Python can write
for _ in range(10_000):
    NESTED = [NESTED]


def read(endpoint=FACE_GEN, photo=(512, 512), **body):
    return read_request({**MINIMAL, **body}, endpoint, Guard()).request(photo)


def test_what_is_left_out_is_the_default():
    assert read() == (FaceGenRequest(**MINIMAL), "")


def test_a_request_as_the_web_examples_write_it():
    request, tip = read(
        key="x",
        model_id="m",
        width="512",
        height="768",
        samples="1",
        num_inference_steps="41",
        safety_checker="no",
        base64="yes",
        seed="null",
        guidance_scale="7.5",
        webhook="null",
        style="Anime ",
        s_scale="0.3",
        **{" track_id": "null"},
    )
    assert tip == ""
    assert request == FaceGenRequest(
        **MINIMAL, width=512, height=768, num_inference_steps=41, safety_checker=False, base64=True, style="anime", s_scale=0.3
    )


@pytest.mark.parametrize(
    ("given", "name", "value", "tip"),
    [
        ({"s_scale": 7.4}, "s_scale", 2, "s_scale was 7.4 and is now 2."),
        ({"s_scale": 7.5}, "s_scale", 1.0, f"s_scale was 7.5, {SDK}; 1.0 is used."),
        ({"num_inference_steps": 20}, "num_inference_steps", 31, f"num_inference_steps was 20, {SDK}; 31 is used."),
        ({"num_inference_steps": "19"}, "num_inference_steps", 21, "num_inference_steps was 19 and is now 21."),
        ({"num_inference_steps": 100}, "num_inference_steps", 41, "num_inference_steps was 100 and is now 41."),
        ({"num_inference_steps": 25}, "num_inference_steps", 25, ""),
        ({"width": 1024}, "width", 512, "width was 1024 and is now 512."),
        ({"width": "510"}, "width", 512, "width was 510 and is now 512."),
        ({"height": 0}, "height", 64, "height was 0 and is now 64."),
        ({"guidance_scale": -3}, "guidance_scale", 1, "guidance_scale was -3 and is now 1."),
        ({"samples": 4}, "samples", 2, "samples was 4 and is now 2."),
        ({"samples": 2, "width": 512, "height": 768}, "samples", 1, "samples is 1 at 512x768."),
        ({"seed": 2**70}, "seed", 2**64 - 1, f"seed was {2**70} and is now {2**64 - 1}."),
        ({"seed": -1}, "seed", None, ""),
        ({"seed": "12"}, "seed", 12, ""),
        ({"width": 512.0}, "width", 512, ""),
        ({"safety_checker": 0}, "safety_checker", False, ""),
        ({"base64": "TRUE"}, "base64", True, ""),
        ({"negative_prompt": None}, "negative_prompt", "", ""),
        ({"style": ""}, "style", "realistic", ""),
        ({"track_id": 7}, "track_id", 7, ""),
        ({" track_id ": "a"}, "track_id", "a", ""),
        ({"track_id": "7"}, "track_id", "7", ""),
        ({"webhook": " https://example.org/hook "}, "webhook", "https://example.org/hook", ""),
        ({"prompt": "null"}, "prompt", "null", ""),
    ],
)
def test_values(given, name, value, tip):
    request, said = read(**given)
    assert getattr(request, name) == value and type(getattr(request, name)) in (type(value), int, float)
    assert said == tip


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": "x" * 10_001}, "prompt"),
        ({"prompt": "\ud800"}, "prompt"),
        ({"face_image": ["a"]}, "face_image"),
        ({"style": {"a": "anime"}}, "style"),
        ({"track_id": NESTED}, "track_id"),
        ({"width": "wide"}, "width"),
        ({"width": True}, "width"),
        ({"width": 300.5}, "width"),
        ({"seed": "1.5"}, "seed"),
        ({"seed": {}}, "seed"),
        ({"s_scale": float("nan")}, "s_scale"),
        ({"s_scale": "inf"}, "s_scale"),
        ({"guidance_scale": "1e999"}, "guidance_scale"),
        ({"style": "oil"}, "style"),
        ({"base64": 2}, "base64"),
        ({"safety_checker": "maybe"}, "safety_checker"),
        ({"safety_checker_type": "green"}, "safety_checker_type"),
        ({"webhook": "ftp://example.org"}, "webhook"),
        ({"webhook": "http://127.0.0.1/"}, "webhook"),
        ({"webhook": "http://user:word@example.org/"}, "webhook"),
        ({"track_id": 1.5}, "track_id"),
        ({"track_id": True}, "track_id"),
        ({"track_id": "x" * 256}, "track_id"),
    ],
)
def test_values_that_cannot_be_read(given, name):
    with pytest.raises(ContractError) as error:
        read(**given)
    assert list(error.value.errors) == [name] and name in error.value.errors[name][0]


def test_styles_of_one_s_own_are_taken_and_named():
    styles = ["realistic", "anime", "Oil on canvas"]
    wanted = read_request({**MINIMAL, "style": " oil ON canvas"}, FACE_GEN, Guard(), styles)
    assert wanted.request((64, 64))[0].style == "Oil on canvas"
    with pytest.raises(ContractError, match=r"style field must be one of realistic, anime, Oil on canvas, got 'comic'"):
        read_request({**MINIMAL, "style": "comic"}, FACE_GEN, Guard(), styles)


def test_every_bad_field_is_named_at_once():
    with pytest.raises(ContractError) as error:
        read_request({"width": "x", "style": "oil", "face_image": "f"}, FACE_GEN, Guard())
    assert list(error.value.errors) == ["prompt", "width", "style"]


@pytest.mark.parametrize("body", [None, [], "x", 5])
def test_a_body_that_is_no_object(body):
    with pytest.raises(ContractError, match="JSON object"):
        read_request(body, FACE_GEN, Guard())


# --- sizes


@pytest.mark.parametrize(
    ("photo", "size"),
    [
        ((512, 512), (512, 512)),
        ((300, 400), (304, 400)),  # its own, in steps of 8
        ((3000, 4000), (512, 680)),
        ((4000, 3000), (512, 384)),
        ((1024, 1024), (512, 512)),
        ((40, 50), (64, 64)),
        ((2000, 100), (512, 64)),
        ((100, 2000), (64, 768)),
    ],
)
def test_a_size_that_was_left_out_is_the_photo_s(photo, size):
    request, tip = read(photo=photo)
    assert (request.width, request.height, tip) == (*size, "")


@pytest.mark.parametrize(
    ("given", "size", "tip"),
    [
        ((768, 432), (512, 288), "The size was 768x432 and is now 512x288."),
        ((576, 768), (512, 680), "The size was 576x768 and is now 512x680."),
        ((1024, 1024), (512, 512), "The size was 1024x1024 and is now 512x512."),
        ((512, 768), (512, 768), ""),
        ((64, 72), (64, 72), ""),
        ((512, 1), (512, 64), "The size was 512x1 and is now 512x64."),
        ((-5, 10**40), (64, 768), "The size was -5xfar too much and is now 64x768."),
    ],
)
def test_a_size_beyond_the_limits_keeps_its_aspect(given, size, tip):
    request, said = read(width=given[0], height=str(given[1]) if given[1] < 10**30 else given[1])
    assert (request.width, request.height, said) == (*size, tip)


def test_a_side_that_was_left_out_follows_the_photo():
    assert [getattr(read(photo=(300, 600), width=256)[0], side) for side in ("width", "height")] == [256, 512]
    assert [getattr(read(photo=(300, 600), height=256)[0], side) for side in ("width", "height")] == [128, 256]
    request, tip = read(photo=(300, 600), width=512)
    assert (request.width, request.height, tip) == (384, 768, "width was 512 and is now 384.")


# --- the family


def test_each_endpoint_has_its_own_defaults():
    assert [read(endpoint)[0].safety_checker_type for endpoint in (FACE_GEN, MAKE_GEN)] == ["black", NOTICE_TEXT]
    head_shot, flux = read(HEAD_SHOT)[0], read(FLUX, (2000, 1500))[0]
    assert (head_shot.style, head_shot.guidance_scale, head_shot.endpoint) == ("", 5.0, "/v6/image_editing/head_shot")
    assert (flux.width, flux.height, flux.num_inference_steps, flux.guidance_scale) == (1024, 768, 25, 5.5)


def test_each_endpoint_has_its_own_ranges():
    assert read(HEAD_SHOT, guidance_scale=20)[1] == "guidance_scale was 20 and is now 5."
    assert read(FLUX, guidance_scale=20)[1] == "guidance_scale was 20 and is now 10."
    assert read(FLUX, num_inference_steps=20)[0].num_inference_steps == 20, "which the SDK sends, and which is in range"
    assert read(FLUX, samples=2, width=1024, height=1024)[0].samples == 2
    largest = ENDPOINTS["/v1/enterprise/flux_headshot/make_gen"]
    assert [read(one, width=3000, height=3000)[0].width for one in (FLUX, largest)] == [1024, 2048]


def test_what_an_endpoint_has_not_is_not_read():
    """The official Python SDK sends all of face_gen's fields to each."""
    request, tip = read(FLUX, style=["oil"], s_scale="x")
    assert (request.style, request.s_scale, tip) == ("", 1.0, "") and "style" not in request.as_dict()
