"""What the page shows of an answer: portraits, errors, and the command that asks for the same."""

import base64
import json
import shutil
import subprocess

import pytest

from facegen.api.local.backend import CANCELLED
from facegen.models.tiny_files import DRAWN_FACE, TINY
from serve_page import LANGUAGES, NAME, PAGE, fill, generate, said_in, speak, texts

TOKEN = "a-token-of-some-length"
WAITING, RUNNING = (f"() => document.querySelector('#state').dataset.text === '{one}'" for one in ("waiting", "working"))
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


# --- copying it


def copied(page):
    """What a user gets who pastes."""
    page.fill("#negative_prompt", "")
    page.focus("#negative_prompt")
    page.keyboard.press("Control+V")
    return page.input_value("#negative_prompt")


def test_copy_over_plain_http(open_page, server):
    """From another machine: there the browser has no clipboard for scripts."""
    server.configure(enabled=True, token=TOKEN, served_as=[NAME])
    page = open_page(f"http://{NAME}:{server.port}/")
    assert not page.evaluate("() => isSecureContext || navigator.clipboard")
    page.fill("#key", TOKEN)
    fill(page)
    generate(page)
    page.click("#again summary")
    page.click("#copy")
    page.get_by_text("Copied").wait_for()
    assert copied(page) == page.locator("#curl").text_content()


def test_copy_where_the_clipboard_is_refused(page):
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new DOMException('', 'NotAllowedError')); }")
    fill(page)
    generate(page)
    page.click("#again summary")
    page.click("#copy")
    page.get_by_text("Copied").wait_for()
    assert copied(page) == page.locator("#curl").text_content()


@pytest.mark.parametrize("language", LANGUAGES)
def test_copy_where_nothing_can_be_copied(page, language):
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(); document.execCommand = () => false; }")
    speak(page, language)
    fill(page)
    generate(page)
    page.click("#again summary")
    page.click("#copy")
    page.get_by_text(texts()[language]["selected"]).wait_for()
    assert page.evaluate("() => getSelection().toString()") == page.locator("#curl").text_content()
    page.click("#go")
    page.wait_for_function("text => document.querySelector('#copy').textContent === text", arg=texts()[language]["copy"])


# --- what is shown of which request


def test_nothing_of_the_request_before_is_shown_beside_an_error(page, backend):
    backend.notes = {"likeness": [71]}
    fill(page)
    generate(page)
    page.fill("#prompt", "")
    page.click("#go")
    page.wait_for_selector("#problem", state="visible")
    assert page.locator("#portraits img").count() == 1, "no request was begun"
    backend.gate.clear()
    fill(page)
    page.click("#go")
    page.wait_for_selector("#work", state="visible")
    assert page.locator("#portraits img").count() == 0
    assert not page.is_visible("#tip") and not page.is_visible("#again") and not page.is_visible("#problem")
    backend.fail = "No face found in the photo."
    backend.gate.set()
    page.get_by_text(backend.fail).wait_for()
    assert page.locator("figure").count() == 0 and not page.is_visible("#tip") and not page.is_visible("#again")


# --- its own words, in the language that is chosen


def follows(page, *names):
    """Its texts of these names, and all others, are there in each language that is chosen, and in no other."""
    for language in ("zh", "ja", "en"):
        speak(page, language)
        for other in LANGUAGES:
            said = said_in(page, other)
            assert set(names) <= said if other == language else not said, (language, other)


def test_an_open_problem_follows_the_language(page):
    page.click("#go")
    follows(page, "no_photo", "language", "title")
    page.set_input_files("#photo", files=[{"name": "a.png", "mimeType": "image/png", "buffer": b"-"}])
    page.wait_for_selector("#not_shown", state="visible")
    follows(page, "no_photo", "not_shown")


def test_the_progress_line_follows_the_language(page, backend):
    backend.gate.clear()
    fill(page)
    page.click("#go")
    backend.progress = 0.4
    page.wait_for_function(RUNNING)
    page.evaluate("() => { window.fetch = () => new Promise(() => {}); }")  # nothing that is heard later draws it anew
    page.wait_for_timeout(1500)
    follows(page, "working")


def test_captions_and_the_button_follow_the_language(page, backend):
    backend.notes = {"likeness": [71, None]}
    fill(page)
    page.locator("summary").first.click()
    page.fill("#samples", "2")
    generate(page)
    page.click("#again summary")
    page.click("#copy")
    page.get_by_text("Copied").wait_for()
    follows(page, "likeness", "no_likeness", "made", "copied")
    assert "71 % likeness" in page.inner_text("#portraits")


def test_a_cancel_of_the_user_s_is_said_in_the_user_s_language(page, backend):
    backend.gate.clear()
    speak(page, "ja")
    fill(page)
    page.click("#go")
    page.wait_for_function(WAITING)
    page.click("#cancel")
    page.get_by_text(texts()["ja"]["cancelled"]).wait_for()
    follows(page, "cancelled")


def test_a_cancel_while_the_photo_is_sent(page, backend):
    backend.gate.clear()
    sent = []
    page.route("**/face_gen", lambda route: sent.append(route))
    fill(page)
    page.click("#go")
    page.click("#cancel")
    page.wait_for_timeout(200)
    sent[0].continue_()
    page.get_by_text(CANCELLED).wait_for()
    assert len(backend.cancelled) >= 1


def test_what_the_server_says_stays_as_it_is(page, server, backend):
    """Also where somebody else cancels."""
    backend.gate.clear()
    speak(page, "ja")
    fill(page)
    page.click("#go")
    page.wait_for_function(WAITING)
    server.post("/api/v6/image_editing/cancel/1")
    page.get_by_text(CANCELLED).wait_for()
    speak(page, "zh")
    assert page.inner_text("#problem") == CANCELLED
    assert json.dumps(CANCELLED) in (PAGE / "client.js").read_text(encoding="utf-8")
