"""The form of the page: another endpoint, the numbers' limits, and the photo."""

import pytest

from facegen.contract import ENDPOINTS
from facegen.models.tiny_files import DRAWN_FACE, TINY
from serve_page import LANGUAGES, fill, generate, speak, texts

TYPED = {"prompt": "a sailor", "negative_prompt": "a hat", "seed": "7", "num_inference_steps": "41", "width": "256"}
NO_PICTURE = {"name": "a holiday in the mountains.png", "mimeType": "image/png", "buffer": b"no picture"}


@pytest.fixture
def page(open_page, server):
    """With all of its fields in view."""
    page = open_page(server.url)
    page.locator("summary").first.click()
    return page


def values(page, *names):
    return {name: page.input_value(f"#{name}") for name in names}


def test_another_endpoint_keeps_what_was_typed(page):
    for name, value in TYPED.items():
        page.fill(f"#{name}", value)
    for endpoint in ("head_shot", "face_gen"):
        page.select_option("#endpoint", endpoint)
        assert values(page, *TYPED) == TYPED


def test_another_endpoint_has_its_own_defaults(page):
    own = [{"guidance_scale": "7.5", "samples": "1"}, {"guidance_scale": "5", "samples": "1"}]
    assert values(page, *own[0]) == own[0]
    for endpoint, expected in (("head_shot", own[1]), ("face_gen", own[0])):
        page.select_option("#endpoint", endpoint)
        assert values(page, *expected) == expected


def test_what_is_outside_another_endpoint_s_range_is_its_default_there(page):
    page.fill("#guidance_scale", "12")
    page.select_option("#endpoint", "head_shot")
    assert page.input_value("#guidance_scale") == "5"
    page.select_option("#endpoint", "face_gen")
    assert page.input_value("#guidance_scale") == "12"
    page.fill("#guidance_scale", "3.5")
    page.select_option("#endpoint", "head_shot")
    assert page.input_value("#guidance_scale") == "3.5"


def test_a_field_that_another_endpoint_lacks_comes_back_as_it_was(page, backend):
    page.select_option("#style", "comic")
    page.locator("#s_scale").fill("1.3")
    page.select_option("#endpoint", "head_shot")
    fill(page)
    generate(page)
    page.select_option("#endpoint", "face_gen")
    assert values(page, "style", "s_scale") == {"style": "comic", "s_scale": "1.3"}
    assert page.inner_text("#s_scale_shown") == "1.3"
    (made,) = backend.works.values()
    assert made.request.style == "" and made.request.s_scale == 1.3


def test_a_number_that_was_emptied_stays_so(page):
    page.fill("#num_inference_steps", "")
    page.select_option("#endpoint", "head_shot")
    assert page.input_value("#num_inference_steps") == ""


def test_every_number_has_the_endpoint_s_limits(page):
    for name in ("face_gen", "head_shot"):
        page.select_option("#endpoint", name)
        fields = ENDPOINTS[f"/v6/image_editing/{name}"].fields
        for field in ("width", "height", "samples", "num_inference_steps", "guidance_scale", "s_scale"):
            shown = [float(page.get_attribute(f"#{field}", limit)) for limit in ("min", "max")]
            assert shown == [fields[field].minimum, fields[field].maximum], field
        assert page.get_attribute("#height", "step") == "8" and values(page, "width", "height") == {"width": "", "height": ""}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_file_that_is_no_picture_is_said_to_be_none(page, language):
    said = texts()[language]["not_shown"]
    speak(page, language)
    page.set_input_files("#photo", files=[NO_PICTURE])
    page.get_by_text(said).wait_for()
    assert page.inner_text("#chosen") == NO_PICTURE["name"] and not page.is_visible("#preview")
    page.set_input_files("#photo", str(TINY / DRAWN_FACE))
    page.wait_for_selector("#preview", state="visible")
    assert page.inner_text("#chosen") == DRAWN_FACE and not page.get_by_text(said).is_visible()
