"""Chinese and Japanese names and tooltips for all that the front end shows of this pack. English is the code's own."""

import json
import re

import pytest

from facegen.adoption.old_nodes import CATEGORY
from facegen.adoption.which import OLD
from node_source import LANGUAGES, LOCALES, inputs, leaves, locale, nodes_in_source, of_schema, outputs
from pack import ROOT

SCRIPT = (ROOT / "web" / "js" / "facegen.js").read_text(encoding="utf-8")
LETTERS = {"zh": r"[\u4e00-\u9fff]", "ja": r"[\u3040-\u30ff]"}
QUOTED = {"zh": r"“([^”]+)”", "ja": r"「([^」]+)」"}
# Of ComfyUI, as its front end calls them in these languages.
STOCK = {
    "zh": "K采样器 CLIP文本编码 加载CLIP视觉 加载ControlNet模型 "
    "加载图像 图像转换为遮罩 遮罩转换为图像 分离图像Alpha 从批次获取图像 生成后控制",
    "ja": "Kサンプラー CLIPテキストエンコード CLIPビジョンを読み込む 画像を読み込む 画像をマスクに変換 マスクを画像に変換 "
    "アルファで画像を分割 バッチから画像を取得 生成後の制御 ControlNetモデルを読み込む",
}
INPUTS, OUTPUTS = nodes_in_source(inputs), nodes_in_source(outputs)
EVERY = pytest.mark.parametrize("language", LANGUAGES)


def settings():
    """Setting id -> (category, whether it has a tooltip), as web/js/facegen.js registers them."""
    constants = dict(re.findall(r'^const (\w+) = "(.*)";', SCRIPT, re.MULTILINE))
    (block,) = re.findall(r"^  settings: \[\n(.*?)^  \],", SCRIPT, re.MULTILINE | re.DOTALL)
    found = {}
    for one in re.findall(r"^    \{\n(.*?)^    \},", block, re.MULTILINE | re.DOTALL):
        (name,) = re.findall(r"^      id: (.*),$", one, re.MULTILINE)
        (category,) = re.findall(r"^      category: (\[.*\]),$", one, re.MULTILINE)
        found[constants.get(name, name.strip('"'))] = json.loads(category), "      tooltip: " in one
    return found


def test_the_languages_are_those_of_the_help_pages():
    assert sorted(path.name for path in LOCALES.iterdir()) == sorted(LANGUAGES)
    for language in LANGUAGES:
        assert {path.name for path in (LOCALES / language).iterdir()} == {"main.json", "nodeDefs.json", "settings.json"}


@EVERY
def test_every_node_input_output_and_tooltip_is_there_and_nothing_else(language):
    expected = {}
    for node_id, names in INPUTS.items():
        parts = {"display_name", "description"}
        parts |= {f"inputs.{name}.{part}" for name in names for part in ("name", "tooltip")}
        for index, (_, has_tooltip) in enumerate(OUTPUTS[node_id]):
            parts |= {f"outputs.{index}.name"} | ({f"outputs.{index}.tooltip"} if has_tooltip else set())
        expected[node_id] = parts
    # Nodes that stand in for other packs' keep the names that their inputs have there.
    expected |= {old.new_id: {"display_name", "description"} for old in OLD.values()}
    given = {node_id: {".".join(path) for path, _ in leaves(node)} for node_id, node in locale(language, "nodeDefs").items()}
    assert given == expected


@EVERY
def test_every_setting_and_category_is_there_and_nothing_else(language):
    ours, main = settings(), locale(language, "main")
    assert len(ours) >= 2
    parts = {
        f"{name.replace('.', '_')}.{part}"
        for name, (_, has_tooltip) in ours.items()
        for part in ["name"] + ["tooltip"] * has_tooltip
    }
    assert {".".join(path) for path, _ in leaves(locale(language, "settings"))} == parts
    # The dialog shows a setting's first two categories, as its page and its group.
    assert set(main["settingsCategories"]) == {label for category, _ in ours.values() for label in category[:2]}
    named = {*nodes_in_source(of_schema("category")).values(), CATEGORY}
    categories = {part for category in named for part in category.split("/")}
    assert set(main["nodeCategories"]) == categories
    assert set(main) == {"nodeCategories", "settingsCategories"}


@EVERY
def test_the_texts_are_in_the_language_and_plain(language):
    """The front end's i18n would read { } @ | in a text as its own syntax."""
    for file in ("main", "nodeDefs", "settings"):
        for path, text in leaves(locale(language, file)):
            assert text.strip() == text != "" and not re.search(r"[{}@|]", text), path
            if path[-1] in ("tooltip", "description"):
                assert re.search(LETTERS[language], text), path
    for node in locale(language, "nodeDefs").values():
        assert node["display_name"].endswith(" (FaceGen)")


@EVERY
def test_no_two_sockets_of_a_node_have_one_name(language):
    for node_id, node in locale(language, "nodeDefs").items():
        for side in ("inputs", "outputs"):
            names = [one["name"] for one in node.get(side, {}).values()]
            assert len(set(names)) == len(names), (node_id, side)


@EVERY
def test_a_node_that_a_text_names_exists(language):
    ours = {node["display_name"].removesuffix(" (FaceGen)") for node in locale(language, "nodeDefs").values()}
    pages = {path.parent.name: path.read_text(encoding="utf-8") for path in (ROOT / "web" / "docs").glob(f"*/{language}.md")}
    assert len(pages) == len(INPUTS)
    pages["nodeDefs"] = (LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8")
    for name, text in pages.items():
        columns = {cell for row in re.findall(r"^\| (.*) \|\n\|-", text, re.MULTILINE) for cell in row.split(" | ")}
        assert set(re.findall(QUOTED[language], text)) <= ours | set(STOCK[language].split()) | columns, name
