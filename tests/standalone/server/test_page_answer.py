"""What the page shows of an answer: portraits, errors, and the command that asks for the same."""

import base64
import json
import shutil
import subprocess

import pytest

from facegen.models.tiny_files import DRAWN_FACE, TINY
from serve_page import fill, generate

TOKEN = "a-token-of-some-length"
WAITING, RUNNING = (
    f"() => document.querySelector('#state').textContent.startsWith('{one}')" for one in ("Waiting", "Generating")
)
HOSTILE = "FACE_IMAGE 'quoted' \"twice\" $(id) `id` %s \\n\n${HOME} __FACE_IMAGE__ ;base64, 顔"


def body_of(command):
    """The JSON that the command sends."""
    printed, sent, _ = command.partition(" |\n  curl ")
    assert sent
    return json.loads(subprocess.run(["bash", "-c", printed], cwd=TINY, check=True, capture_output=True, timeout=60).stdout)


@pytest.fixture
def page(open_page, server):
    return open_page(server.url)


# --- the command


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_the_command_holds_whatever_was_typed(page, backend):
    fill(page, HOSTILE)
    page.fill("#negative_prompt", "FACE_IMAGE")
    generate(page)
    body = body_of(page.locator("#curl").text_content())
    assert (body["prompt"], body["negative_prompt"]) == (HOSTILE, "FACE_IMAGE")
    kind, _, photo = body["face_image"].partition(",")
    assert kind == "data:image/png;base64" and base64.b64decode(photo) == (TINY / DRAWN_FACE).read_bytes()


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_the_command_has_the_seed_that_was_used(page, backend):
    fill(page)
    generate(page)
    (made,) = backend.works.values()
    assert body_of(page.locator("#curl").text_content())["seed"] == made.request.seed
    assert page.input_value("#seed") == "", "the next picture is another"
    page.locator("summary").first.click()
    page.fill("#seed", "7")
    page.click("#go")
    page.wait_for_function("() => document.querySelector('#curl').textContent.includes('\"seed\":7')")


def test_the_command_is_of_the_photo_that_was_sent(page, backend):
    backend.gate.clear()
    fill(page)
    page.click("#go")
    page.wait_for_function(WAITING)
    page.set_input_files("#photo", files=[{"name": "other.png", "mimeType": "image/png", "buffer": b"-"}])
    backend.gate.set()
    page.wait_for_selector("#portraits img")
    assert DRAWN_FACE in page.locator("#curl").text_content()
