"""Styles: the built-in ones, the user's, and prompts made of them."""

import json
from dataclasses import replace

import pytest

from facegen.contract import STYLES
from facegen.errors import FaceGenError
from facegen.models.identity.layer_weights import parse_layer_weights
from facegen.models.style import PLAIN, load_style, style_files


def test_built_in_styles_are_the_contract_s():
    assert tuple(style_files()) == STYLES


@pytest.mark.parametrize("name", STYLES)
def test_every_built_in_style_is_complete(name):
    style = load_style(style_files()[name])
    text = style.positive("a man with a hat")
    assert "a man with a hat" in text and len(text) > 60
    assert len(style.negative) > 40 and style.description
    assert 0.5 <= style.weight <= 1.2 and 0 <= style.s_scale <= 2
    assert len(parse_layer_weights(style.layer_weights, 16)) == 16
    assert len(style.positive("word").split()) < 60  # CLIP reads 77 tokens


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
    assert list(files) == [*STYLES, "oil"]
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
