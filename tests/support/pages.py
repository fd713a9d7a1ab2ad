"""Markdown pages: whether their links lead somewhere."""

import re

FENCE = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)


def text_of(path):
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path):
    """The headings of a page as GitHub's links name them."""
    headings = re.findall(r"^#+ (.*)$", text_of(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page):
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", text_of(page)):
        name, _, heading = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (heading and heading not in anchors(file)):
            yield target
