"""The page for people in a real browser: from a photo to portraits, in three languages."""

import json
import re
import shutil
import subprocess

import pytest

from facegen.models.tiny_files import DRAWN_FACE, TINY
from serve_page import LANGUAGES, PAGE, fill, generate, speak, texts
from serve_process import ServeProcess
from waiting import until

TOKEN = "a-token-of-some-length"
# Text -> contrast to what is behind it, of each text in view. A canvas makes numbers of whatever way a colour is written in.
CONTRASTS = """() => {
    const brush = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const paint = colour => {
        brush.clearRect(0, 0, 1, 1);
        brush.fillStyle = colour;
        brush.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = brush.getImageData(0, 0, 1, 1).data;
        return {rgb: [r, g, b], alpha: a / 255};
    };
    const over = (below, {rgb, alpha}) => below.map((one, i) => rgb[i] * alpha + one * (1 - alpha));
    const luminance = rgb => rgb
        .map(one => one / 255)
        .map(one => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
        .reduce((sum, one, i) => sum + one * [0.2126, 0.7152, 0.0722][i], 0);
    const probe = document.body.appendChild(Object.assign(document.createElement('i'), {style: 'background: Canvas'}));
    const canvas = paint(getComputedStyle(probe).backgroundColor).rgb;
    probe.remove();
    const found = {};
    for (const element of document.body.querySelectorAll('*')) {
        const own = [...element.childNodes].filter(one => one.nodeType === Node.TEXT_NODE).map(one => one.data).join('').trim();
        const text = own || element.value;
        if (typeof text !== 'string' || !text || !element.checkVisibility() || /range|file/.test(element.type)) continue;
        const parents = [];
        for (let one = element; one; one = one.parentElement) parents.unshift(getComputedStyle(one));
        const behind = parents.reduce((below, style) => over(below, paint(style.backgroundColor)), canvas);
        const opacity = parents.reduce((all, style) => all * style.opacity, 1);
        const colour = paint(getComputedStyle(element).color);
        const front = over(behind, {rgb: colour.rgb, alpha: colour.alpha * opacity});
        const [light, dark] = [luminance(front), luminance(behind)].sort((a, b) => b - a);
        found[text] = Math.min(found[text] ?? 21, (light + 0.05) / (dark + 0.05));
    }
    return found;
}"""


def shown_pictures(page):
    """Their files."""
    return [page.request.get(one.evaluate("one => one.src")).body() for one in page.locator("#portraits img").all()]


def test_from_a_photo_to_portraits_on_the_tiny_model(open_page, tmp_path):
    """The whole way, in few steps, and then its own cURL command in a shell."""
    with ServeProcess(tmp_path, steps=7) as serve:
        serve.wait_until_ready()
        page = open_page(serve.url)
        fill(page, "it's a person, blue background")
        page.select_option("#style", "comic")
        page.locator("#s_scale").fill("1.3")
        page.locator("summary").first.click()
        page.fill("#samples", "2")
        page.fill("#width", "256")
        page.fill("#height", "256")
        page.click("#go")
        page.wait_for_selector("#work", state="visible")
        page.wait_for_selector("#portraits img", timeout=60_000)
        page.wait_for_function("() => [...document.querySelectorAll('#portraits img')].every(one => one.naturalWidth === 256)")
        assert page.locator("#portraits img").count() == 2 and not page.is_visible("#work")
        captions = page.locator("figcaption").all_inner_texts()
        shown = re.compile(r"\d+ % likeness by tiny\nRequest 1, seed \d+, [\d.]+ s")
        assert all(map(shown.match, captions)), captions
        assert "small demonstration model" in page.inner_text("#tip")
        command = page.locator("#curl").text_content()
        assert '"style":"comic","s_scale":1.3' in command and "\"prompt\":\"it'\\''s a person" in command
        if shutil.which("bash") and shutil.which("curl"):
            done = subprocess.run(["bash", "-c", command], cwd=TINY, check=True, capture_output=True, timeout=120)
            answer = json.loads(done.stdout)
            assert answer["status"] == "success" and answer["meta"]["s_scale"] == 1.3
            assert [page.request.get(url).body() for url in answer["output"]] == shown_pictures(page)


def test_progress_and_cancel(open_page, server, backend):
    backend.gate.clear()
    page = open_page(server.url)
    fill(page)
    page.click("#go")
    page.wait_for_function("() => document.querySelector('#state').textContent.startsWith('Waiting, about')")
    backend.progress = 0.4
    page.wait_for_function("() => document.querySelector('#progress').value === 0.4", timeout=60_000)
    assert page.inner_text("#state").startswith("Generating, about") and page.is_disabled("#go")
    page.click("#cancel")
    page.wait_for_selector("#problem", state="visible", timeout=60_000)
    assert page.inner_text("#problem") == "The request was cancelled." and page.is_enabled("#go")
    assert len(backend.cancelled) >= 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_speaks_three_languages_and_remembers_which(open_page, server, language):
    page = open_page(server.url)
    page.click(f"button[data-language={language}]")
    assert page.inner_text("#go") == LANGUAGES[language] and page.get_attribute("html", "lang") == language
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.inner_text("#go") == LANGUAGES[language]
    page.click("#go")
    assert page.inner_text("#problem")
    empty = page.evaluate("() => [...document.querySelectorAll('[data-text]')].filter(one => !one.textContent).length")
    assert empty == 0


def test_its_texts_are_the_same_in_every_language():
    told = texts()
    assert list(told) == list(LANGUAGES)
    forms = [{name: sorted(re.findall(r"\{\w+\}", text)) for name, text in one.items()} for one in told.values()]
    assert forms[0] == forms[1] == forms[2] and len(forms[0]) > 20
    used = set(re.findall(r'data-(?:text|label)="(\w+)"', (PAGE / "index.html").read_text(encoding="utf-8")))
    script = (PAGE / "page.js").read_text(encoding="utf-8")
    used |= {name for name in forms[0] if f'"{name}"' in script}
    assert used == set(forms[0])


def test_what_is_wrong_is_said(open_page, server, backend):
    page = open_page(server.url)
    page.click("#go")
    assert page.inner_text("#problem") == "Choose a photo of the face first."
    page.set_input_files("#photo", str(TINY / DRAWN_FACE))
    page.click("#go")
    assert page.inner_text("#problem") == "Say what the picture should show."
    page.set_input_files("#photo", files=[{"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"}])
    page.fill("#prompt", "a sailor")
    page.click("#go")
    page.wait_for_function("() => document.querySelector('#problem').textContent.includes('face_image field')")
    backend.fail = "No face found in the photo."
    fill(page)
    page.click("#go")
    page.wait_for_function("() => document.querySelector('#problem').textContent === 'No face found in the photo.'")


def test_with_a_key(open_page, server, backend):
    server.configure(enabled=True, token=TOKEN)
    page = open_page(server.url)
    fill(page, "<img src=x onerror=alert(1)> a sailor")
    page.click("#go")
    page.wait_for_function("() => document.querySelector('#problem').textContent.includes('not a token')")
    page.fill("#key", TOKEN)
    page.click("#go")
    page.wait_for_selector("#portraits img")
    assert TOKEN not in page.content() and "YOUR_KEY" in page.locator("#curl").text_content()
    assert page.locator("#portraits img").count() == 1


def test_another_endpoint_has_other_fields(open_page, server, backend):
    page = open_page(server.url)
    assert page.is_visible("#style") and page.locator("#style option").count() >= 5
    page.select_option("#endpoint", "head_shot")
    assert not page.is_visible("#style") and page.get_attribute("#guidance_scale", "max") == "5"
    fill(page)
    page.click("#go")
    page.wait_for_selector("#portraits img")
    (made,) = backend.works.values()
    assert made.request.endpoint == "/v6/image_editing/head_shot" and made.request.style == ""


def test_a_server_that_goes_away_is_said(open_page, server):
    page = open_page(server.url)
    fill(page)
    page.route("**/api/**", lambda route: route.abort())
    page.evaluate("() => { window.addEventListener('unhandledrejection', event => { throw event.reason; }); }")
    page.click("#go")
    page.wait_for_function("() => document.querySelector('#problem').textContent === \"The server can't be reached.\"")


@pytest.mark.parametrize("width", [320, 375, 800])
def test_it_fits_a_phone(open_page, server, width):
    """With all that can be opened open, and names and words that are long."""
    page = open_page(server.url, viewport={"width": width, "height": 640})
    for summary in page.locator("summary").all():
        summary.evaluate("summary => { summary.parentElement.open = true; }")
    page.set_input_files("#photo", files=[{"name": f"{'a' * 200}.png", "mimeType": "image/png", "buffer": b"-"}])
    page.wait_for_selector("#not_shown", state="visible")
    fill(page, "a sailor " * 40)
    generate(page)
    assert page.is_visible("#curl")
    for language in LANGUAGES:
        speak(page, language)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_it_is_usable_without_a_mouse(open_page, server):
    page = open_page(server.url)
    unnamed = page.evaluate(
        "() => [...document.querySelectorAll('input, select, textarea, button')]"
        ".filter(one => !(one.labels?.length || one.textContent.trim())).map(one => one.id)"
    )
    assert unnamed == []
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.dataset.language") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_texts_can_be_read(open_page, server, backend, scheme):
    """WCAG's contrast of every text in view, with an answer and with an error."""
    page = open_page(server.url, color_scheme=scheme)
    page.locator("summary").first.click()
    fill(page)
    generate(page)
    page.click("#again summary")
    page.evaluate("() => { document.querySelector('#key_row').hidden = false; }")
    seen = page.evaluate(CONTRASTS)
    page.set_input_files("#photo", files=[{"name": "a.png", "mimeType": "image/png", "buffer": b"-"}])
    page.wait_for_selector("#not_shown", state="visible")
    seen |= page.evaluate(CONTRASTS)
    backend.fail = "No face found in the photo."
    page.set_input_files("#photo", str(TINY / DRAWN_FACE))
    page.click("#go")
    page.get_by_text(backend.fail).wait_for()
    seen |= page.evaluate(CONTRASTS)
    assert {backend.fail, texts()["en"]["not_shown"], "Generate", "OpenAPI", "Copy"} <= seen.keys()
    assert {text: contrast for text, contrast in seen.items() if contrast < 4.5} == {}


def test_nothing_is_loaded_from_elsewhere(open_page, server, browser):
    urls = []
    context = browser.new_context()
    page = context.new_page()
    page.on("request", lambda request: urls.append(request.url))
    page.goto(server.url)
    page.wait_for_selector("body[data-ready]")
    context.close()
    until(lambda: len(urls) >= 5)
    assert [url for url in urls if not url.startswith((server.url, "data:"))] == []
