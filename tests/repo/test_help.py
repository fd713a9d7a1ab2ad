"""Help pages: one for every node, in English, Chinese and Japanese, naming every socket and quoting errors that exist. Nodes
that stand in for other packs' in old graphs have none: the front end shows their description, and docs/other-packs.md the rest.

The nodes are read from their source, without ComfyUI.
"""

import ast
import json
import re
from collections import Counter

import pytest

from facegen.adoption.which import OLD
from node_source import LANGUAGES, first_sentence, labels, locale, nodes_in_source, numbers, of_schema, sentence, sockets
from pack import ROOT

DOCS = ROOT / "web" / "docs"
# Inputs of other packs' whose choices are explained.
MEANT = {"weight_type", "embeds_scaling", "combine_embeds", "preset", "method", "projection", "fusion"}
GIVEN = re.compile(r"\S*[\d_]\S*")  # such as faceid-plusv2_sdxl in an example of a message


def page(node_id, language=None):
    path = DOCS / (f"{node_id}/{language}.md" if language else f"{node_id}.md")
    return path.read_text(encoding="utf-8")


def blocks(text):
    """What a page is made of, in order: headings, paragraphs, items, table rows with their cells, code, pictures."""
    found = []
    for part in re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE):
        if part.startswith("```"):
            found.append(part)  # the same in every language
            continue
        for block in re.split(r"\n\n+", part.strip("\n")):
            kinds = [_kind(line) for line in block.split("\n") if not line.startswith("  ")]  # as items are continued
            found += ["paragraph"] if set(kinds) == {"paragraph"} else kinds
    return found


def _kind(line):
    if line.startswith("|"):
        return f"{re.sub('`[^`]*`', '', line).count('|')} bars"
    if picture := re.match(r"!\[.*\](\(.*\))", line):
        return picture[1]
    mark = re.match(r"#+ |- ", line)
    return mark[0] if mark else "paragraph"


def spans(text):
    """How often each `code span` stands on the page."""
    return Counter(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)))


def without_labels(text, node_id, language):
    """The page without the names that sockets have in its language: "`weight_1` 权重 1" is "`weight_1`"."""
    for name, label in labels(node_id, language):
        text = text.replace(f"`{name}` {label}", f"`{name}`")
    return text


NODES = nodes_in_source(sockets)
BOTH = pytest.mark.parametrize(("node_id", "language"), [(n, language) for n in NODES for language in LANGUAGES])


def test_pages_and_nodes_are_the_same():
    assert len(NODES) >= 8 and all(NODES.values())
    assert {path.stem for path in DOCS.glob("*.md")} == set(NODES)
    translated = {f"{node_id}/{language}.md" for node_id in NODES for language in LANGUAGES}
    assert {path.relative_to(DOCS).as_posix() for path in DOCS.glob("*/*.md")} == translated


@pytest.mark.parametrize("node_id", NODES)
def test_page_names_every_socket(node_id):
    assert [name for name in NODES[node_id] if f"`{name}`" not in page(node_id)] == []


@pytest.mark.parametrize("node_id", NODES)
def test_page_is_named_as_the_node_and_has_its_sections(node_id):
    text = page(node_id)
    assert text.startswith(f"# {nodes_in_source(of_schema('display_name'))[node_id].removesuffix(' (FaceGen)')}\n")
    assert [one for one in ("## Inputs", "## Outputs", "## Common errors") if f"\n{one}\n" not in text] == []


@pytest.mark.parametrize("node_id", NODES)
def test_tables_of_sentences_fit_the_narrow_panel(node_id):
    """Two columns, of which the second begins with the advice. Only short cells, such as numbers, stand in more."""
    for line in page(node_id).splitlines():
        cells = re.sub(r"`[^`]*`", "x", line).strip("|").split("|")
        assert not line.startswith("|") or len(cells) == 2 or max(map(len, cells)) < 45, line


@pytest.mark.parametrize("node_id", NODES)
def test_tables_of_inputs_fit_the_narrow_panel(node_id):
    """A name in code is broken only after a hyphen: what is longer stands below the table."""
    for name, advice in re.findall(r"^\| `(\w+)` \| (.*) \|$", page(node_id), re.MULTILINE):
        pieces = [piece for code in re.findall(r"`([^`]*)`", advice) for piece in re.split(r"[ -]", code)]
        assert len(name) + max(map(len, pieces), default=0) < 36, name


@BOTH
def test_a_translation_is_made_as_the_english_page(node_id, language):
    """The same headings, paragraphs, items, tables, code and pictures, code spans and numbers."""
    english, text = page(node_id), page(node_id, language)
    assert blocks(text) == blocks(english)
    assert spans(text) == spans(english)
    assert numbers(without_labels(text, node_id, language)) == numbers(english)


@BOTH
def test_a_translation_is_named_as_the_node_and_its_sockets(node_id, language):
    text, title = page(node_id, language), locale(language, "nodeDefs")[node_id]["display_name"]
    assert text.startswith(f"# {title.removesuffix(' (FaceGen)')}\n")
    told = [(name, label) for name, label in labels(node_id, language) if name != label.lower()]
    assert [f"`{name}` {label}" for name, label in told if f"`{name}` {label}" not in text] == []


@pytest.mark.parametrize("node_id", NODES)
def test_pictures_on_the_page_are_there_and_no_others(node_id):
    """The node and, on some pages, thumbnails of templates."""
    shown = re.findall(r"^!\[.+\]\((.+)\)$", page(node_id), re.MULTILINE)
    assert f"{node_id}/node.png" in shown
    assert set(shown) == {path.relative_to(DOCS).as_posix() for path in (DOCS / node_id).iterdir() if path.suffix != ".md"}
    for picture in shown:
        name = picture.rpartition("/")[2]
        assert name == "node.png" or (DOCS / picture).read_bytes() == (ROOT / "workflows" / name).read_bytes()


def _texts_in_source():
    """Every text of the pack's own code; what an f-string puts in is a line break."""
    folders = [path for folder in ("nodes", "models", "api") for path in sorted((ROOT / folder).rglob("*.py"))]
    for path in (ROOT / "contract.py", *folders):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "\n" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@pytest.fixture(scope="module")
def source():
    return "\n\n".join(_texts_in_source())


@pytest.mark.parametrize("node_id", NODES)
def test_the_errors_on_the_page_are_in_the_code(node_id, source):
    """Half of each quoted text, on end, stands in the code; the rest may be what the message was given."""
    table = page(node_id).split("## Common errors")[1]
    cells = [row.split(" | ")[0] for row in re.findall(r"^\| (.*) \|$", table, re.MULTILINE)]
    quoted = [text for cell in cells if "(from ComfyUI)" not in cell for text in re.findall(r"`([^`]+)`", cell)]
    assert quoted
    parts = [part.strip() for text in quoted for part in text.split("…") if part]
    assert [part for part in parts if not _half_in(part, source) and not _half_in(GIVEN.sub("\n", part), source)] == []


def _half_in(part, source):
    half = max(len(part) // 2, min(len(part), 8))
    return any(part[at : at + half] in source for at in range(len(part) - half + 1))


def test_comfyui_manager_is_told_of_every_node():
    """node_list.json, which Manager reads to find the pack that a workflow lacks: node id -> what it does."""
    told = json.loads((ROOT / "node_list.json").read_text(encoding="utf-8"))
    adopted = {old.new_id: sentence(old.description) for old in OLD.values()}
    assert told == dict(sorted({**nodes_in_source(first_sentence), **adopted}.items()))


def test_the_page_on_other_packs_names_every_node_and_every_value_of_theirs():
    """Whatever can be set on an old node: its input by name, and each choice of those that say how a face acts."""
    page_ = (ROOT / "docs" / "other-packs.md").read_text(encoding="utf-8")
    names = {old.id for old in OLD.values()} | {one.name for old in OLD.values() for one in old.inputs}
    choices = {option for old in OLD.values() for one in old.widgets if one.name in MEANT for option in one.options}
    assert len(choices) > 20 and sorted(name for name in names | choices if f"`{name}`" not in page_) == []
