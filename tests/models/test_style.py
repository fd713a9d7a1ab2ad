"""Styles: the built-in ones, the user's, and prompts made of them."""

import argparse
import json
import re
import shutil
from dataclasses import replace

import pytest

from facegen.contract import STYLES, FaceGenRequest
from facegen.errors import FaceGenError
from facegen.models import style
from facegen.models.identity.layer_weights import parse_layer_weights
from facegen.models.style import PLAIN, find_style, load_style, style_files
from facegen.standalone.cli.generate import add_arguments
from node_source import LANGUAGES
from pack import ROOT

NEW = "a-style-of-tomorrow"
HELP = {"en": "FaceGenStyle.md"} | {language: f"FaceGenStyle/{language}.md" for language in LANGUAGES}


def lacking(name, path):
    """What a style of the pack still needs, as sentences for whoever adds it."""
    style = load_style(path)
    words = len(style.positive("word").split())
    yield from (f"{path.name} has no {part}" for part in ("negative", "description") if not getattr(style, part))
    if words >= 60:
        yield f"the prompt of {path.name} has {words} words: CLIP reads 77 tokens, and the user's words need some of them"
    for language, page in HELP.items():
        text = (ROOT / "web" / "docs" / page).read_text(encoding="utf-8")
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
        if not any(row[0].startswith("`style`") and name in re.split(r"[^A-Za-z0-9_-]+", row[1]) for row in rows):
            yield f"the {language} help ({page}) doesn't list {name} among the values of style"
        (told,) = [row for row in rows if row[0] == name] or [None]
        if told is None:
            yield f"the {language} help ({page}) lacks the row of {name} in its table of weights"
        elif [float(number) for number in told[1:3]] != [style.weight, style.s_scale]:
            yield f"the {language} help ({page}) gives {name} {told[1:3]}, its file {style.weight} and {style.s_scale}"
        elif style.layer_weights not in ("", told[3]):
            yield f"the {language} help ({page}) gives {name} other layer_weights than its file"
    (row,) = re.findall(r"^.*\[Face Style\].*$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    if not re.search(rf"\b{re.escape(name)}\b", row):
        yield f"README.md doesn't name {name} at Face Style"


@pytest.fixture
def with_one_more(tmp_path, monkeypatch):
    """The pack with one more style, of which there is nothing but the JSON file. Gives the names of the others."""
    folder = shutil.copytree(style.BUILT_IN, tmp_path / "styles")
    data = {"prompt": "watercolour painting of {prompt}, soft washes", "negative": "photo", "description": "Wet on wet."}
    (folder / f"{NEW}.json").write_text(json.dumps(data | {"faceid": {"weight": 0.8, "s_scale": 0.4}}))
    known = list(style_files())
    monkeypatch.setattr(style, "BUILT_IN", folder)
    return known


def test_the_contract_s_styles_come_first_in_its_order():
    assert tuple(style_files())[: len(STYLES)] == STYLES


@pytest.mark.parametrize("name", style_files())
def test_every_style_of_the_pack_is_complete(name):
    assert list(lacking(name, style_files()[name])) == []


@pytest.mark.parametrize("name", style_files())
def test_every_style_of_the_pack_makes_prompts(name):
    style = load_style(style_files()[name])
    text = style.positive("a man with a hat")
    assert "a man with a hat" in text and len(text) > 60
    assert len(style.negative) > 40 and style.description
    assert 0.5 <= style.weight <= 1.2 and 0 <= style.s_scale <= 2
    assert len(parse_layer_weights(style.layer_weights, 16)) == 16


def test_one_more_style_needs_one_file_and_its_words(with_one_more):
    assert sorted(style_files()) == sorted([*with_one_more, NEW]) and tuple(style_files())[: len(STYLES)] == STYLES
    assert find_style(NEW).positive("a cat") == "watercolour painting of a cat, soft washes"
    told = list(lacking(NEW, style_files()[NEW]))
    assert len(told) == 7 and [language for language in HELP if sum(f"the {language} help" in line for line in told) != 2] == []


def test_one_more_style_is_offered_by_the_command_line(with_one_more):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    given = parser.parse_args(["--face", "f.jpg", "--prompt", "x", "--style", NEW])
    assert FaceGenRequest(given.prompt, given.face_image, style=given.style).style == NEW


def test_a_style_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(FaceGenError, match=r"one of realistic, .*comic.*, got 'oil'"):
        find_style("oil")


def test_prompts_are_joined_without_stray_commas():
    style = load_style(style_files()["comic"])
    assert ", ," not in style.positive("") and ",," not in style.positive("a cat, ")
    assert style.negative_prompt("hat").startswith("hat, ")
    assert style.negative_prompt("") == style.negative
    assert PLAIN.positive("a cat") == "a cat" and PLAIN.negative_prompt("hat") == "hat"


def test_typed_prompt_wins_over_the_style_s():
    style = replace(PLAIN, user_prompt="a cook", user_negative="hat")
    assert (style.positive("a pilot"), style.positive(" ")) == ("a pilot", "a cook")
    assert (style.negative_prompt("glasses"), style.negative_prompt("")) == ("glasses", "hat")


def test_a_user_s_file_adds_or_replaces_a_style(tmp_path):
    (tmp_path / "anime.json").write_text(json.dumps({"prompt": "{prompt}, my anime"}))
    (tmp_path / "oil.json").write_text(json.dumps({"prompt": "oil {prompt}"}))
    files = style_files(tmp_path, tmp_path / "nowhere")
    assert list(files) == [*style_files(), "oil"]
    assert load_style(files["anime"]).positive("x") == "x, my anime"


def test_a_byte_order_mark_is_no_obstacle(tmp_path):
    (tmp_path / "oil.json").write_text('{"prompt": "oil {prompt}"}', encoding="utf-8-sig")
    assert load_style(tmp_path / "oil.json").prompt == "oil {prompt}"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "can't be read"),
        ("[]", "{prompt}"),
        ('{"prompt": "x"}', "{prompt}"),
        ('{"prompt": "{prompt}", "faceid": {"weight": "much"}}', "weight"),
        ('{"prompt": ["{prompt}"]}', "prompt"),
        ('{"prompt": "{prompt}", "faceid": {"weight": 3.1}}', "weight field must be between 0 and 3, got 3.1"),
        ('{"prompt": "{prompt}", "faceid": {"s_scale": NaN}}', "s_scale"),
        ('{"prompt": "{prompt}", "faceid": {"s_scale": 2.1}}', "s_scale field must be between 0 and 2, got 2.1"),
        ('{"prompt": "{prompt}", "faceid": {"s_scale": true}}', "s_scale"),
        ('{"prompt": "{prompt}", "faceid": null}', "faceid"),
        ('{"prompt": "{prompt}", "faceid": {"layer_weights": "0-x:1"}}', "layer_weights"),
        ('{"prompt": "{prompt}", "faceid": 3}', "faceid"),
    ],
)
def test_broken_style_files_are_named(tmp_path, content, says):
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(FaceGenError, match=rf"bad\.json.*{says}"):
        load_style(tmp_path / "bad.json")
