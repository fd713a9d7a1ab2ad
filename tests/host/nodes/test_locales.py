"""ComfyUI serves the pack's names, tooltips and help pages in every language that it has."""

import re
import urllib.error
import urllib.request

import pytest

from facegen.adoption.which import OLD
from node_source import LANGUAGES, locale, numbers
from pack import ROOT

ADOPTED = {old.new_id for old in OLD.values()}  # they have no pages, and their inputs keep the names that the old packs gave
FOLDER = "my-faces"  # what the user called the pack's folder


@pytest.fixture(scope="module")
def nodes(server):
    return {name: node for name, node in server.get("/object_info").items() if name.startswith("FaceGen")}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_names_are_served(server, language):
    served = server.get("/i18n")[language]
    assert {key: served[key] for key in ("nodeDefs", "settings")} == {
        key: locale(language, key) for key in ("nodeDefs", "settings")
    }
    for key, texts in locale(language, "main").items():
        assert served[key] == texts


@pytest.mark.parametrize("language", LANGUAGES)
def test_they_are_those_of_the_schema(nodes, language):
    """Every text of the nodes as ComfyUI has them is translated, and says the same numbers."""
    translated = locale(language, "nodeDefs")
    assert set(translated) == set(nodes)
    for name, node in nodes.items():
        ours = translated[name]
        assert numbers(ours["description"]) == numbers(node["description"]), name
        fields = {**node["input"].get("required", {}), **node["input"].get("optional", {})}
        if name in ADOPTED:
            assert set(ours) == {"display_name", "description"} and not any("tooltip" in spec[1] for spec in fields.values())
            continue
        told = {field: spec[1]["tooltip"] for field, spec in fields.items()}
        assert set(ours.get("inputs", {})) == set(told)
        for field, tooltip in told.items():
            assert numbers(ours["inputs"][field]["tooltip"]) == numbers(tooltip), (name, field)
        for index, tooltip in enumerate(node["output_tooltips"]):
            assert numbers(ours["outputs"][str(index)].get("tooltip", "")) == numbers(tooltip or ""), (name, index)
        assert len(ours.get("outputs", {})) == len(node["output"])


def rows(text):
    """Name of an input -> its range and its default, which stand in brackets after the advice: "(0 to 2; default 1)"."""
    table = text.split("\n## Inputs\n")[1].split("\n## ")[0]
    found = {}
    for first, last in re.findall(r"^\| (`[^|]*?) \| .*?\(([^()]*)\) \|$", table, re.MULTILINE):
        limits, _, default = last.partition("; default ")
        found |= dict.fromkeys(re.findall(r"`(\w+)`", first), (limits, default))
    return found


def test_the_help_pages_say_the_schema_s_ranges_and_defaults(nodes):
    """So do the translations, which say the same numbers as the English page."""
    checked = 0
    for name, node in nodes.items():
        if name in ADOPTED:
            continue
        told = rows((ROOT / "web" / "docs" / f"{name}.md").read_text(encoding="utf-8"))
        for field, spec in {**node["input"].get("required", {}), **node["input"].get("optional", {})}.items():
            rules, (limits, default) = spec[1], told[field]
            if "min" in rules:
                high = "2^64 - 1" if rules["max"] == 2**64 - 1 else f"{rules['max']:g}"
                ends = (f"{rules['min']:g}", high)
                assert all(re.search(rf"(?<![\d.]){re.escape(end)}(?![\d.])", limits) for end in ends), (name, field)
                assert float(default) == rules["default"], (name, field)
                checked += 1
            elif "default" in rules and default not in ("", "the first one"):
                assert default == {True: "on", False: "off", "": "empty"}.get(rules["default"], rules["default"]), (name, field)
                checked += 1
    assert checked > 60


def fetch(server, path):
    """The status and the text, as the front end's fetch gets them."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def test_every_help_page_is_served_where_the_front_end_looks(server, nodes):
    """First <node>/<language>.md, and where there is none, <node>.md: so English has no folder of its own."""
    for name in nodes.keys() - ADOPTED:
        for language in LANGUAGES:
            own = (ROOT / "web" / "docs" / name / f"{language}.md").read_text(encoding="utf-8")
            assert fetch(server, f"/extensions/{FOLDER}/docs/{name}/{language}.md") == (200, own)
        assert fetch(server, f"/extensions/{FOLDER}/docs/{name}/en.md")[0] == 404
        own = (ROOT / "web" / "docs" / f"{name}.md").read_text(encoding="utf-8")
        assert fetch(server, f"/extensions/{FOLDER}/docs/{name}.md") == (200, own)
