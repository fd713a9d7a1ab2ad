"""Sample workflows as files: whole, laid out, and free of what doesn't belong in them. No ComfyUI is needed."""

import itertools
import json
import re
import uuid

import pytest
from PIL import Image

import workflows
from facegen.models.face.packs.catalogue import CATALOGUE
from facegen.models.published import PUBLISHED
from pack import ROOT

STOCK = {
    "CheckpointLoaderSimple",
    "CLIPVisionLoader",
    "ControlNetLoader",
    "LoadImage",
    "SaveImage",
    "PreviewImage",
    "PreviewAny",
    "MarkdownNote",
    "CLIPTextEncode",
    "EmptyLatentImage",
    "KSampler",
    "VAEDecode",
    "VAEEncode",
    "SetLatentNoiseMask",
    "ImageScaleBy",
    "ImageCompositeMasked",
    "ImageStitch",
    "SolidMask",
    "FeatherMask",
    "MaskComposite",
    "InvertMask",
    "PrimitiveStringMultiline",
    "PrimitiveInt",
    "UNETLoader",
    "CLIPLoader",
    "VAELoader",
    "FluxKontextImageScale",
    "TextEncodeQwenImageEditPlus",
    "ModelSamplingAuraFlow",
    "CFGNorm",
    "RepeatLatentBatch",
    "DualCLIPLoader",
    "FluxGuidance",
    "BasicGuider",
    "RandomNoise",
    "KSamplerSelect",
    "BasicScheduler",
    "EmptySD3LatentImage",
    "SamplerCustomAdvanced",
}
# Where the files go that a loader names; where it names several, those of each.
FOLDERS = {
    "CheckpointLoaderSimple": "checkpoints",
    "CLIPVisionLoader": "clip_vision",
    "ControlNetLoader": "controlnet",
    "FaceGenLoadFaceID": "ipadapter",
    "FaceGenLoadInstantID": "instantid",
    "UNETLoader": "diffusion_models",
    "CLIPLoader": "text_encoders",
    "VAELoader": "vae",
    "DualCLIPLoader": "text_encoders text_encoders",
    "FaceGenLoadPuLID": "pulid",
    "FaceGenLoadFaceStructure": "clip_vision facexlib",
}
# Of what is no .safetensors, the ending, and where it isn't on Hugging Face, its address.
ENDINGS = {"FaceGenLoadFaceID": (".bin",), "FaceGenLoadInstantID": (".bin",), "FaceGenLoadFaceStructure": (".pt", ".pth")}
SOURCES = ("https://huggingface.co/", "https://github.com/xinntao/facexlib/releases/")
APPS = {"try_without_models", "portrait_sd15", "headshot_sdxl"}
TITLE = 30  # pixels above a node's position
LISTED = {
    "portrait_sd15",
    "headshot_sdxl",
    "headshot_instantid",
    "headshot_pulid_sdxl",
    "portrait_flux_pulid",
    "five_styles",
    "s_scale_sweep",
    "several_photos_one_person",
    "two_people_masks",
    "two_people_instantid",
    "best_of_n_likeness",
    "second_pass_face_detail",
    "safety_actions",
    "save_and_reuse_face",
    "modelslab_remote",
    "local_vs_remote",
    "try_without_models",
    "judge_any_model",
}
BLUEPRINTS = [workflows.BLUEPRINTS / f"{name}.json" for name in workflows.BLUEPRINT_NAMES]
TWINS = sorted((workflows.WORKFLOWS / "api").glob("*.json"))
PATHS = [workflows.WORKFLOWS / f"{name}.json" for name in workflows.NAMES]


def graphs():
    """(name, nodes, links as lists, groups) of every workflow and of each blueprint's inside."""
    for name in workflows.NAMES:
        workflow = workflows.load(f"{name}.json")
        yield pytest.param(workflow["nodes"], workflow["links"], workflow["groups"], id=name)
    order = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    for name in workflows.BLUEPRINT_NAMES:
        (inside,) = workflows.blueprint(name)["definitions"]["subgraphs"]
        links = [[link[k] for k in order] for link in inside["links"]]
        yield pytest.param(inside["nodes"], links, inside["groups"], id=name)


def box(node):
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_all_are_there_with_twin_and_thumbnail():
    assert set(workflows.NAMES) == LISTED
    for path in PATHS:
        assert (path.parent / "api" / path.name).is_file()
        with Image.open(path.with_suffix(".jpg")) as thumbnail:
            assert thumbnail.width >= 400 and thumbnail.format == "JPEG"
        assert path.with_suffix(".jpg").stat().st_size < 100_000


@pytest.mark.parametrize(("nodes", "links", "groups"), graphs())
def test_links_join_what_is_there(nodes, links, groups):
    by_id = {node["id"]: node for node in nodes}
    assert len(by_id) == len(nodes) and len({link[0] for link in links}) == len(links)
    for number, origin, slot, target, target_slot, kind in links:
        if origin > 0:
            out = by_id[origin]["outputs"][slot]
            assert number in out["links"] and out["type"] == kind
        if target > 0:
            end = by_id[target]["inputs"][target_slot]
            assert end["link"] == number and (end["type"] == "*" or kind in end["type"].split(","))
    known = {link[0] for link in links}
    for node in nodes:
        assert {i["link"] for i in node["inputs"] if i["link"]} | {n for o in node["outputs"] for n in o["links"]} <= known


@pytest.mark.parametrize(("nodes", "links", "groups"), graphs())
def test_nothing_overlaps_and_all_is_in_a_group(nodes, links, groups):
    for a, b in itertools.combinations(nodes, 2):
        assert not overlap(box(a), box(b)), f"{a['type']} {a['id']} and {b['type']} {b['id']}"
    frames = [(x, y, x + width, y + height) for x, y, width, height in (group["bounding"] for group in groups)]
    assert not any(overlap(a, b) for a, b in itertools.combinations(frames, 2))
    for node in nodes:
        x0, y0, x1, y1 = box(node)
        holding = [f for f in frames if f[0] < x0 and f[1] < y0 and x1 < f[2] and y1 < f[3]]
        assert len(holding) == (0 if node["type"] == "MarkdownNote" else 1), f"{node['type']} {node['id']}"


@pytest.mark.parametrize(("nodes", "links", "groups"), graphs())
def test_links_run_from_left_to_right(nodes, links, groups):
    left = {node["id"]: node["pos"][0] for node in nodes}
    for _, origin, _, target, *_ in links:
        if origin > 0 and target > 0:
            assert left[origin] <= left[target], (origin, target)


@pytest.mark.parametrize(("nodes", "links", "groups"), graphs())
def test_only_stock_nodes_and_ours_each_with_its_origin(nodes, links, groups):
    for node in nodes:
        ours = node["type"].startswith("FaceGen")
        assert ours or node["type"] in STOCK
        if node["type"] != "MarkdownNote":
            assert node["properties"]["cnr_id"] == ("facegen" if ours else "comfy-core")
            assert re.fullmatch(r"\d+\.\d+\.\d+", node["properties"]["ver"])


@pytest.mark.parametrize(("nodes", "links", "groups"), graphs())
def test_missing_models_can_be_offered(nodes, links, groups):
    """Every file that a loader names is told to the front end, with its address and folder, and nothing else."""
    for node in nodes:
        told = {model["name"]: model for model in node["properties"].get("models", ())}
        folders = FOLDERS.get(node["type"], "").split()
        assert list(told) == node["widgets_values"][: len(folders)]
        for model, folder in zip(told.values(), folders, strict=True):
            endings = ENDINGS.get(node["type"], (".safetensors",))
            assert model["name"].endswith(endings) and model["url"].endswith(endings)
            assert model["url"].startswith(SOURCES) and model["directory"] == folder


@pytest.mark.parametrize("name", workflows.NAMES)
def test_a_note_says_which_files_go_where(name):
    workflow = workflows.load(f"{name}.json")
    (note,) = (node for node in workflow["nodes"] if node["type"] == "MarkdownNote")
    (text,) = note["widgets_values"]
    assert len(text) < 2000
    listed = [line for line in text.splitlines() if line.startswith("- ")]
    for node in workflow["nodes"]:
        folders = {**FOLDERS, "FaceGenLoadFaceAnalyzer": "insightface/models"}.get(node["type"], "").split()
        for file, folder in zip(node["widgets_values"], folders, strict=False):
            (line,) = (line for line in listed if file in line)
            assert re.search(rf"in \*models/{folder}\*: \[.+\]\(https://.+\).* \(.+\)$", line), line
    commands = re.findall(r"^(python custom_nodes/<folder> models download (\S+))$", text, re.MULTILINE)
    assert all(len(line.replace("<folder>", "ComfyUI-FaceGen")) < 73 for line, _ in commands)  # or Nodes 2.0 cuts it off
    named = [name for _, name in commands]
    packs = {node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "FaceGenLoadFaceAnalyzer"}
    assert {name for name in named if name in CATALOGUE} == packs
    faceid = {node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "FaceGenLoadFaceID"}
    assert {f"ip-adapter-{name}.bin" for name in named if name.startswith("faceid")} == faceid
    assert set(named) <= PUBLISHED.keys() | CATALOGUE.keys()
    # Nodes 2.0 shows code within a line blue on blue.
    assert "`" not in re.sub(r"^```\n(.*\n)+?```$", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", workflows.NAMES)
def test_a_template_opens_where_it_can_be_read(name):
    """The note is at the top left of a window of 1600x1000, in a size to read, and short enough for it."""
    workflow = workflows.load(f"{name}.json")
    assert workflow["extra"]["facegenTemplate"] is True
    view = workflow["extra"]["ds"]
    (note,) = (node for node in workflow["nodes"] if node["type"] == "MarkdownNote")
    left, top = ((place + moved) * view["scale"] for place, moved in zip(note["pos"], view["offset"], strict=True))
    bottom = top + note["size"][1] * view["scale"]
    assert view["scale"] >= 0.75 and 70 < left < 140 and 90 < top < 200 and bottom < 980


@pytest.mark.parametrize("name", workflows.NAMES)
def test_load_image_shows_the_drawn_face(name):
    """A file that isn't there opens the template with an error."""
    workflow = workflows.load(f"{name}.json")
    chosen = [node["widgets_values"] for node in workflow["nodes"] if node["type"] == "LoadImage"]
    assert chosen and all(values == [workflows.FACE, "image"] for values in chosen)


def test_the_drawn_face_is_the_demo_s():
    assert (ROOT / "web" / "drawn_face.png").read_bytes() == (ROOT / "models" / "tiny" / "drawn_face.png").read_bytes()


@pytest.mark.parametrize("name", workflows.NAMES)
def test_some_templates_are_apps_too(name):
    """Photo, prompt, style, s_scale and seed in; portraits out."""
    workflow = workflows.load(f"{name}.json")
    extra, of_type = workflow["extra"], {node["type"]: node["id"] for node in workflow["nodes"]}
    assert ("linearMode" in extra) == ("linearData" in extra) == (name in APPS)
    if name in APPS:
        style, sampler = of_type["FaceGenStyle"], of_type["FaceGenSampler"]
        asked = [[of_type["LoadImage"], "image"], [style, "prompt"], [style, "style"], [sampler, "s_scale"], [sampler, "seed"]]
        assert extra["linearMode"] is True
        assert extra["linearData"] == {"inputs": asked, "outputs": [of_type["SaveImage"]]}


@pytest.mark.parametrize("name", workflows.NAMES)
def test_it_is_plain_which_prompt_counts(name):
    """Where the style node has the prompt, the sampler's is empty, and both nodes' titles say so."""
    nodes = workflows.load(f"{name}.json")["nodes"]
    samplers = [node for node in nodes if node["type"] == "FaceGenSampler"]
    styles = [node for node in nodes if node["type"] == "FaceGenStyle"]
    assert all(sampler["widgets_values"][:2] == ["", ""] for sampler in samplers)
    for style in styles if samplers else ():
        linked = any(socket["name"] == "prompt" and socket["link"] for socket in style["inputs"])
        assert linked != bool(style["widgets_values"][1])
        assert linked or style["title"] == "Face Style: the prompt goes here"
    (note,) = (node["widgets_values"][0] for node in nodes if node["type"] == "MarkdownNote")
    assert not samplers or re.search(r"own (prompts? )?stays? empty|Prompt for both", note)


def test_the_template_list_says_what_each_is():
    """In three languages, the one that needs no download first; no title is cut off on its card."""
    texts = json.loads((ROOT / "web" / "templates.json").read_text(encoding="utf-8"))
    assert set(texts) == LISTED and next(iter(texts)) == "try_without_models"
    for name, by_language in texts.items():
        assert list(by_language) == ["en", "zh", "ja"], name
        assert all(title and len(title) < 42 and description for title, description in by_language.values()), name
        assert len({title for title, _ in by_language.values()}) == 3


@pytest.mark.parametrize("path", [*PATHS, *BLUEPRINTS, *TWINS], ids=lambda p: f"{p.parent.name}/{p.name}")
def test_nothing_personal_is_in_it(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r'"(/|~|[A-Za-z]:\\\\)', text), "an absolute path"
    assert not re.search(r'"(key|api_key|token)"|\b(sk|hf)[-_]\w{8}', text)


@pytest.mark.parametrize("path", [*PATHS, *BLUEPRINTS], ids=lambda p: p.name)
def test_written_as_the_front_end_writes_it(path):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    assert workflow["version"] == 0.4 and str(uuid.UUID(workflow["id"])) == workflow["id"]
    assert workflow["last_node_id"] == max(node["id"] for node in workflow["nodes"])
    assert workflow["last_link_id"] == max((link[0] for link in workflow["links"]), default=0)


def test_the_blueprints_are_there():
    assert workflows.BLUEPRINT_NAMES == [
        "Embed a face",
        "Headshot with InstantID",
        "Keep the best likeness",
        "Portrait from a face",
        "Portrait with FLUX",
    ]


@pytest.mark.parametrize("name", workflows.BLUEPRINT_NAMES)
def test_a_blueprint_is_one_node_with_its_subgraph(name):
    whole = workflows.blueprint(name)
    (node,), (inside,) = whole["nodes"], whole["definitions"]["subgraphs"]
    assert node["type"] == inside["id"] and node["title"] == inside["name"] == name
    sockets = [i["name"] for i in node["inputs"]]
    assert sockets + [name for _, name in node["properties"]["proxyWidgets"]] == [i["name"] for i in inside["inputs"]]
    assert [o["name"] for o in node["outputs"]] == [o["name"] for o in inside["outputs"]]
    assert len(node["widgets_values"]) == len(node["properties"]["proxyWidgets"])
    assert len(whole["extra"]["BlueprintDescription"]) > 40 and inside["description"] == whole["extra"]["BlueprintDescription"]
    assert inside["category"] == "FaceGen" and len(whole["extra"]["BlueprintSearchAliases"]) > 3
