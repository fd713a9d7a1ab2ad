"""Templates and nodes in the front end, on the classic canvas and as Nodes 2.0: they look the same, and nothing is lost."""

import pytest

import workflows
from front_end import ALONE, IDLE, open_help, open_template, pictures, shot, show_error, wait_for_pictures

pytestmark = pytest.mark.usefixtures("mode", "alone")
# What the front end misses in Load Image and its like; older ones don't look.
MISSING = """() => {
    const stores = document.querySelector('#vue-app').__vue_app__.config.globalProperties.$pinia._s;
    return (stores.get('missingMedia')?.missingMediaCandidates ?? []).map(one => one.name);
}"""


@pytest.mark.parametrize("name", workflows.NAMES)
def test_a_template_opens_as_its_api_twin(page, mode, name):
    graph = open_template(page, name)
    known = "LiteGraph.registered_node_types[n.type] || n.subgraph || n.isVirtualNode"
    assert page.evaluate(f"() => app.graph._nodes.filter(n => !({known})).map(n => n.type)") == []
    twin = workflows.load(f"api/{name}.json")
    for number, node in graph.items():
        if not node["class_type"].startswith("FaceGen"):  # the front end gives some stock nodes widgets of its own
            node["inputs"] = {n: v for n, v in node["inputs"].items() if n in twin[number]["inputs"]}
    assert {n: (node["class_type"], node["inputs"]) for n, node in graph.items()} == {
        n: (node["class_type"], node["inputs"]) for n, node in twin.items()
    }
    assert page.evaluate(MISSING) == []
    assert page.evaluate("async name => (await fetch(`/view?type=input&filename=${name}`)).status", workflows.FACE) == 200
    texts = page.evaluate("() => app.graph._nodes.filter(n => n.type === 'MarkdownNote').map(n => n.widgets[0].value)")
    assert "<folder>" not in texts[0]
    assert ("custom_nodes/my-faces models download" in texts[0]) == ("models download" in texts[0])


# As the front end loads what it restores, with the view elsewhere.
UNDONE = """isTemplate => {
    app.canvas.ds.scale = 0.5;
    const graph = app.graph.serialize();
    graph.extra.facegenTemplate = isTemplate;
    graph.extra.ds = { scale: 0.7, offset: [0, 0] };
    return app.loadGraphData(graph, false, false);
}"""


FRAMES = "frames => new Promise(done => { const next = () => frames-- ? requestAnimationFrame(next) : done(); next(); })"


@pytest.mark.parametrize("before", ["portrait_sd15", "two_people_masks"], ids=["app", "graph"])
def test_a_template_opens_where_it_was_laid_out(page, before):
    """Not so small that nobody can read it, after an app, too, which hides the canvas."""
    open_template(page, before)
    page.wait_for_timeout(500)
    open_template(page, "five_styles")
    view = workflows.load("five_styles.json")["extra"]["ds"]
    now = "() => [app.canvas.ds.scale, [...app.canvas.ds.offset]]"
    laid_out = [view["scale"], view["offset"]]
    page.wait_for_function(f"wanted => JSON.stringify(({now})()) === JSON.stringify(wanted)", arg=laid_out, timeout=20_000)
    page.evaluate(FRAMES, 60)  # nothing moves it later
    assert page.evaluate(now) == laid_out
    page.evaluate("() => { app.canvas.ds.scale = 0.6; app.canvas.ds.offset[0] = 10; }")
    page.evaluate(FRAMES, 60)  # nor once the user has moved it
    assert page.evaluate(now) == [0.6, [10, laid_out[1][1]]]
    # When a change is undone, the view is where the front end leaves it without us.
    left = []
    for is_template in (True, False):
        page.evaluate(UNDONE, is_template)
        page.wait_for_timeout(500)
        left.append(page.evaluate(now))
    assert left[0] == left[1]


def in_few_steps(page):
    """The tiny model's portraits, whose looks are judged elsewhere."""
    page.evaluate("""() => app.graph._nodes.filter(n => n.type === 'FaceGenSampler').forEach(n =>
        n.widgets.find(w => w.name === 'num_inference_steps').value = 2)""")


@pytest.mark.newest
@pytest.mark.parametrize("name", ["try_without_models", "safety_actions"])
def test_what_needs_no_download_runs_as_opened(page, mode, name):
    """With the drawn face, by one click on Run; but for the number of steps."""
    open_template(page, name, as_graph=True)
    in_few_steps(page)
    page.evaluate("() => app.queuePrompt(0, 1)")
    if name == "try_without_models":
        wait_for_pictures(page, "SaveImage", [256, 256])
        assert wait_for_pictures(page, "FaceGenEmbedFace", [512, 512], 20)  # enlarged, with its marks
    else:
        wait_for_pictures(page, "PreviewImage", [256, 256])
    page.wait_for_timeout(500)
    shot(page, f"{name}-{mode}")


def test_a_portrait_is_queued_and_shown(page, server, mode):
    open_template(page, "portrait_sd15", as_graph=True)
    page.evaluate(
        """() => {
            const set = (type, values) => app.graph._nodes.filter(n => n.type === type).forEach(n =>
                n.widgets.forEach(w => { if (w.name in values) w.value = values[w.name]; }));
            set('CheckpointLoaderSimple', {ckpt_name: 'sd15.safetensors'});
            set('CLIPVisionLoader', {clip_name: 'vit_l.safetensors'});
            set('FaceGenSampler', {width: 64, height: 64, num_inference_steps: 2, candidates: 1});
        }"""
    )
    page.evaluate("() => app.queuePrompt(0, 1)")
    wait_for_pictures(page, "SaveImage", [64, 64])
    shot(page, f"portrait-{mode}")


# A photo is embedded, compared with itself, and hidden by a filter that hides everything.
SHOWN = {
    "1": ("LoadImage", {"image": "face.png"}),
    "2": ("FaceGenLoadFaceAnalyzer", {"model_pack": "buffalo_l", "provider": "CPU", "min_confidence": 0.5}),
    "3": (
        "FaceGenEmbedFace",
        {
            "face_analysis": ["2", 0],
            "image": ["1", 0],
            "select": "largest",
            "face_index": 0,
            "combine": "average",
            "on_no_face": "error",
        },
    ),
    "4": ("FaceGenLikeness", {"image": ["1", 0], "face_analysis": ["2", 0], "face_embeds": ["3", 0], "keep": 1}),
    "5": ("FaceGenLoadSafetyChecker", {"checker": "nudenet", "provider": "CPU", "preset": "default", "unsafe_labels": ""}),
    "6": (
        "FaceGenSafetyFilter",
        {
            "image": ["4", 0],
            "safety_checker": ["5", 0],
            "safety_checker_type": "black",
            "threshold": 0.0,
            "region": "whole image",
            "notice": "Sensitive content",
        },
    ),
    "7": ("SaveImage", {"images": ["6", 0], "filename_prefix": "shown"}),
}
REPORTS = {
    "FaceGenEmbedFace": "picture 0: 2 found, 1 used (quality ",
    "FaceGenLikeness": "picture 0: 99 % by w600k_r50 (cosine 1.00)",
    "FaceGenSafetyFilter": "picture 0: unsafe (0.00), black, whole image",
}
# Text of a node's report as it is on the screen; "" if it can be edited, or a line of it can't be seen.
REPORT = """type => {
    const element = app.graph._nodes.find(n => n.type === type)?.widgets?.find(w => w.name === 'report')?.element;
    const text = element?.firstElementChild;
    if (!text?.offsetHeight || element.querySelector('input, textarea, [contenteditable]')) return '';
    const line = parseFloat(getComputedStyle(text).lineHeight);
    const [seen, needed] = [element.clientHeight, text.offsetHeight];
    return seen >= needed - 1 && seen < needed + line ? text.innerText : '';
}"""


def show_everything(page):
    page.evaluate("() => { app.graph.arrange(); app.extensionManager.command.execute('Comfy.Canvas.FitView'); }")
    page.wait_for_timeout(300)


def assert_reports(page):
    for kind, words in REPORTS.items():
        shown = page.wait_for_function(f"type => ({REPORT})(type)", arg=kind, timeout=60_000).json_value()
        assert shown.startswith(words), kind
    wait_for_pictures(page, "FaceGenEmbedFace", [768, 768], 20)
    assert pictures(page, "FaceGenLikeness") == pictures(page, "FaceGenSafetyFilter") == []


def test_reports_and_marked_faces_are_shown_and_come_back(page, server, photo, mode, reload):
    """After a run; in a new page where the graph is opened again; and in one where ComfyUI runs nothing again."""
    graph = {number: {"class_type": kind, "inputs": inputs} for number, (kind, inputs) in SHOWN.items()}
    page.evaluate("graph => app.loadApiJson(graph, 'shown.json')", graph)
    page.evaluate("() => app.queuePrompt(0, 1)")
    wait_for_pictures(page, "SaveImage", [1024, 1024])
    show_everything(page)
    assert_reports(page)
    shot(page, f"on-nodes-{mode}")
    saved = page.evaluate("() => app.graph.serialize()")
    assert all("picture 0" not in str(node.get("widgets_values")) for node in saved["nodes"])
    queued = page.evaluate("async () => (await app.graphToPrompt()).output")
    assert not any("report" in node["inputs"] for node in queued.values())

    reload()
    if mode == "canvas":  # what another graph gave is not shown
        nodes = [node | {"widgets_values": [2]} if node["type"] == "FaceGenLikeness" else node for node in saved["nodes"]]
        page.evaluate("workflow => app.loadGraphData(workflow)", saved | {"nodes": nodes})
        show_everything(page)
        page.wait_for_function(f"type => ({REPORT})(type)", arg="FaceGenEmbedFace", timeout=20_000)
        assert page.evaluate(REPORT, "FaceGenLikeness") == page.evaluate(REPORT, "FaceGenSafetyFilter") == ""
    page.evaluate("workflow => app.loadGraphData(workflow)", saved)
    show_everything(page)
    assert_reports(page)
    if mode == "nodes2":
        return  # they are found in the same way; that they are drawn was to be seen

    reload()
    page.evaluate("graph => app.loadApiJson(graph, 'shown.json')", graph)
    show_everything(page)
    assert page.evaluate(REPORT, "FaceGenLikeness") == ""
    looked = []
    page.on("request", lambda request: looked.append(request.url) if "history?max_items=16" in request.url else None)
    page.evaluate("() => app.queuePrompt(0, 1)")
    assert_reports(page)
    # Loaders never have anything to show: once that is known, no more is asked.
    assert len(looked) == 1
    for _ in range(2):
        page.evaluate("() => app.queuePrompt(0, 1)")
        page.wait_for_function(IDLE, timeout=20_000)
        page.wait_for_timeout(500)
    assert len(looked) == 1


def test_a_report_follows_the_last_run(page, mode):
    """It grows and shrinks with its text, and what is empty takes no room."""
    page.evaluate("""() => {
        const node = LiteGraph.createNode('FaceGenFaceQuality');
        app.graph.add(node);
        app.canvas.ds.scale = 1;
        app.canvas.ds.offset = [300, 200];
        node.onExecuted({text: ['score 71 of 100', 'turned away']});
    }""")
    text = f"() => ({REPORT})('FaceGenFaceQuality')"
    wanted = "wanted => (" + text + ")() === wanted"
    page.wait_for_function(wanted, arg="score 71 of 100\nturned away", timeout=10_000)
    page.evaluate("() => app.graph._nodes[0].onExecuted({text: ['score 80 of 100']})")
    page.wait_for_function(wanted, arg="score 80 of 100", timeout=10_000)
    assert page.evaluate("() => app.graph._nodes[0].serialize().widgets_values") == ["largest", 0]
    page.evaluate("() => app.graph._nodes[0].onExecuted({text: ['']})")
    height = "app.graph._nodes[0].widgets.find(w => w.name === 'report').element.offsetHeight"
    page.wait_for_function(f"() => {height} === 0", timeout=10_000)


def test_a_missing_file_is_told_in_the_combo(page, server, mode):
    """What is missing is chosen on a new node, and the error of a run says what to do; after R, the file can be chosen."""
    file = server.base / "models" / "ipadapter" / "ip-adapter-faceid-plusv2_sd15.bin"
    combo = "() => app.graph._nodes[0].widgets.find(w => w.name === 'faceid_file')"
    file.rename(server.base / "aside")
    try:
        page.evaluate("() => app.refreshComboInNodes()")
        page.evaluate("() => { app.graph.clear(); app.graph.add(LiteGraph.createNode('FaceGenLoadFaceID')); }")
        entry = page.evaluate(f"{combo}.value")
        assert entry.startswith(f"missing: {file.name} -> models/ipadapter, from huggingface.co/")
        page.evaluate("""() => {
            const shown = LiteGraph.createNode('PreviewAny');
            app.graph.add(shown);
            app.graph._nodes[0].connect(0, shown, 0);
            app.canvas.ds.reset();
            app.queuePrompt(0, 1);
        }""")
        show_error(page, "Load FaceID: no file is chosen. Looked in")
        shot(page, f"missing-file-{mode}")
        page.errors[:] = [error for error in page.errors if "Prompt execution failed" not in error]  # the refused run
    finally:
        (server.base / "aside").rename(file)
    page.keyboard.press("Escape")
    page.evaluate("() => app.refreshComboInNodes()")
    assert page.evaluate(f"{combo}.options.values") == [file.name]


def test_every_node_is_drawn(page, mode):
    """The help pages' pictures are these. As Nodes 2.0, each has its sockets, widgets and their names, too."""
    from PIL import Image

    nodes = page.evaluate("() => Object.keys(LiteGraph.registered_node_types).filter(id => id.startsWith('FaceGen'))")
    assert len(nodes) > 14
    for node_id in nodes:
        picture = shot(page, f"{node_id}-{mode}" if mode == "nodes2" else node_id, clip=page.evaluate(ALONE, node_id))
        assert len(Image.open(picture).convert("L").getcolors()) > 50  # words and widgets, not an empty box
        if mode == "nodes2":
            words = page.evaluate("() => document.querySelector('[data-node-id]').innerText.split('\\n')")
            node = page.evaluate(
                "() => { const n = app.graph._nodes[0]; return {title: n.title, outputs: n.outputs.map(o => o.name), "
                "inputs: n.inputs.filter(i => !i.widget).map(i => i.name)}; }"
            )
            assert {node["title"], *node["outputs"], *node["inputs"]} <= set(words), node_id


def test_the_sampler_takes_faceid_and_instantid(page, mode):
    """Its socket has two types, and takes no other."""
    joined = page.evaluate("""() => {
        const sampler = app.graph.add(LiteGraph.createNode('FaceGenSampler')) ?? app.graph._nodes.at(-1);
        const joins = (type, output) => {
            app.graph.add(LiteGraph.createNode(type));
            return !!app.graph._nodes.at(-1).connect(output, sampler, sampler.findInputSlot('faceid'));
        };
        return [joins('FaceGenLoadFaceID', 0), joins('FaceGenLoadInstantID', 0), joins('FaceGenEmbedFace', 0)];
    }""")
    assert joined == [True, True, False]


# Where on the page the name of the only node's widget is.
WIDGET = """name => {
    const [node] = app.graph._nodes, {scale, offset} = app.canvas.ds, at = app.canvas.canvas.getBoundingClientRect();
    if (LiteGraph.vueNodesMode) {
        const rows = [...document.querySelectorAll('[data-testid=node-widget]')];
        const box = rows.find(row => row.innerText.startsWith(name)).getBoundingClientRect();
        return [box.x + 40, box.y + box.height / 2];
    }
    const {y} = node.widgets.find(widget => widget.name === name);
    return [at.x + (node.pos[0] + offset[0] + 60) * scale, at.y + (node.pos[1] + offset[1] + y + 10) * scale];
}"""


def test_a_node_has_its_tooltips_and_its_help(page, server, mode):
    open_help(page, "FaceGenEmbedFace")
    heading = "() => document.querySelector('.node-help-content')?.innerText.startsWith('Embed Face')"
    page.wait_for_function(heading, timeout=20_000)
    shot(page, f"help-{mode}")
    page.evaluate("() => { app.extensionManager.sidebarTab.activeSidebarTabId = null; app.canvas.deselectAll(); }")
    page.wait_for_timeout(500)
    required = server.get("/object_info/FaceGenEmbedFace")["FaceGenEmbedFace"]["input"]["required"]
    x, y = page.evaluate(WIDGET, "select")
    page.mouse.move(x - 5, y - 2)
    page.mouse.move(x, y)
    page.get_by_text(required["select"][1]["tooltip"]).first.wait_for(timeout=10_000)


def test_a_new_sampler_says_which_prompt_counts(page, mode):
    page.evaluate("""() => {
        app.graph.add(LiteGraph.createNode('FaceGenSampler'));
        app.canvas.ds.reset();
        app.canvas.ds.offset = [300, 200];
    }""")
    said = ["prompt (if empty, Face Style's)", "negative_prompt (if empty, Face Style's)"]
    if mode == "nodes2":
        for text in said:
            page.locator("[data-node-id]").get_by_text(text, exact=True).first.wait_for()
    else:
        empty = "() => app.graph._nodes[0].widgets.map(widget => widget.element?.placeholder).filter(Boolean)"
        assert page.evaluate(empty) == said
    shot(page, f"prompts-{mode}")


def test_an_app_asks_for_five_things_and_shows_portraits(page, server, mode):
    if mode == "canvas":
        pytest.skip("an app shows no nodes; older front ends have none")
    open_template(page, "try_without_models")
    asked = page.get_by_test_id("app-mode-widget-item")
    asked.nth(4).wait_for(timeout=10_000)
    names = [text.split("\n")[0] for text in asked.all_inner_texts()]
    assert names == ["image", "prompt", "style", "s_scale", "seed"]
    shown = page.evaluate(
        "() => [...document.images].filter(i => i.src.includes('facegen_drawn_face') && i.naturalWidth).length"
    )
    assert shown >= 1
    in_few_steps(page)
    page.evaluate("() => app.queuePrompt(0, 1)")
    page.wait_for_function("() => [...document.images].some(i => i.src.includes('try_without_models'))", timeout=120_000)
    shot(page, f"app-{mode}")
    page.evaluate("() => app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")  # the canvas is back
