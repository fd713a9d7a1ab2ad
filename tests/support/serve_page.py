"""Steps on the page of `serve`, and what it says."""

import re

from facegen.models.tiny_files import DRAWN_FACE, TINY
from pack import ROOT

PAGE = ROOT / "standalone" / "server" / "page"
LANGUAGES = {"en": "Generate", "zh": "生成", "ja": "生成する"}
NAME = "faces.test"  # by which the browser finds this machine, as another machine on the network would
TEXT_NODES = """() => {
    const texts = [...document.querySelectorAll('[aria-label]')].map(one => one.ariaLabel).concat(document.title);
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) texts.push(walker.currentNode.data.trim());
    return texts.filter(Boolean);
}"""


def texts():
    """Language -> name -> text, as texts.js has them."""
    source = (PAGE / "texts.js").read_text(encoding="utf-8")
    blocks = re.findall(r"^  (\w\w): \{(.*?)^  \},", source, re.DOTALL | re.MULTILINE)
    return {language: dict(re.findall(r'^    (\w+): "(.*)",$', block, re.MULTILINE)) for language, block in blocks}


def fill(page, prompt="a sailor"):
    page.set_input_files("#photo", str(TINY / DRAWN_FACE))
    page.fill("#prompt", prompt)


def generate(page):
    """Until there are portraits."""
    page.click("#go")
    page.wait_for_selector("#portraits img")


def speak(page, language):
    page.click(f"button[data-language={language}]")


def said_in(page, language):
    """The names of all texts that the page says in a language, shown or not; without those that two languages have alike."""
    shown, told = page.evaluate(TEXT_NODES), texts()
    own = {name: text for name, text in told[language].items() if [one[name] for one in told.values()].count(text) == 1}
    patterns = {name: re.sub(r"\\\{\w+\\\}", ".+", re.escape(text)) for name, text in own.items()}
    return {name for name, pattern in patterns.items() if any(re.fullmatch(pattern, text) for text in shown)}
