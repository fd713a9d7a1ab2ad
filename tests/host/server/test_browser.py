"""The pack in ComfyUI's own front end, in headless Chromium: templates, a run, texts on nodes, settings, help."""

import json
import re

import pytest

import workflows
from front_end import ALONE, CHROMIUM, FLAGS, NOISE, SETTINGS, open_help, open_template, shot, show_error
from modelslab_server import KEY, ModelsLabServer
from node_source import leaves, locale
from pack import ROOT
from tiny_people import photos

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium or Chrome on PATH")


@pytest.fixture(scope="module")
def browser():
    sync = pytest.importorskip("playwright.sync_api")
    with sync.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def page(browser, server):
    """The front end, loaded; `page.errors` collects what the console and scripts complain of."""
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.errors = []
    for name, value in SETTINGS.items():
        page.request.post(f"http://127.0.0.1:{server.port}/api/settings/{name}", data=json.dumps(value))
    page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(f"http://127.0.0.1:{server.port}/", wait_until="domcontentloaded")
    ready = "() => window.app?.graph && window.app.extensionManager && window.app.extensions.some(e => e.name === 'FaceGen')"
    page.wait_for_function(ready, timeout=180_000)
    page.wait_for_function("() => Object.keys(LiteGraph.registered_node_types).includes('FaceGenSampler')", timeout=60_000)
    return page


@pytest.fixture(autouse=True)
def alone(page):
    """Nothing is shown of the test before, nothing is left in work for the next, and no script complains."""
    page.evaluate("() => app.clean()")  # otherwise a node shows the pictures of one with the same number
    page.errors.clear()
    yield
    idle = "async () => Object.values(await (await fetch('/queue')).json()).every(jobs => !jobs.length)"
    page.wait_for_function(idle, timeout=10_000)
    assert [error for error in page.errors if not any(noise in error for noise in NOISE)] == []


@pytest.mark.parametrize("name", workflows.NAMES)
def test_a_template_opens_as_its_api_twin(page, name):
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


def test_a_portrait_is_queued_and_shown(page, server):
    from PIL import Image
    from skimage import data

    Image.fromarray(data.astronaut()).save(server.base / "input" / "face.jpg", quality=95)
    open_template(page, "portrait_sd15")
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
    shown = "() => app.graph._nodes.some(n => n.type === 'SaveImage' && n.imgs?.length && n.imgs[0].naturalWidth === 64)"
    page.wait_for_function(shown, timeout=180_000)
    marked = "app.graph._nodes.find(n => n.type === 'FaceGenEmbedFace').imgs"
    assert page.evaluate(f"() => {marked}.map(i => [i.naturalWidth, i.naturalHeight])") == [[512, 512]]
    page.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    page.wait_for_timeout(1500)
    shot(page, "portrait")


def test_a_node_shows_lines_of_text_and_does_not_save_them(page):
    saved, text = page.evaluate(
        """() => {
            const node = LiteGraph.createNode('FaceGenFaceQuality');
            app.graph.add(node);
            node.onExecuted({text: ['score 71 of 100', 'turned away']});
            node.onExecuted({text: ['score 80 of 100']});
            return [node.serialize().widgets_values, node.widgets.map(w => w.value)];
        }"""
    )
    assert saved == ["largest", 0] and text == ["largest", 0, "score 80 of 100"]


@pytest.fixture(scope="module")
def photo(server):
    from PIL import Image
    from skimage import data

    Image.fromarray(data.astronaut()).resize((1024, 1024)).save(server.base / "input" / "face.png")


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


def test_nodes_show_faces_scores_and_flags_after_a_run(page, photo):
    graph = {number: {"class_type": kind, "inputs": inputs} for number, (kind, inputs) in SHOWN.items()}
    page.evaluate("graph => app.loadApiJson(graph, 'shown.json')", graph)
    page.evaluate("() => app.queuePrompt(0, 1)")
    node = "app.graph._nodes.find(n => n.type === '{}')"
    report = f"() => {node}.widgets.find(w => w.name === 'facegen_report')?.value"

    def text(kind):
        return page.wait_for_function(report.format(kind), timeout=120_000).json_value()

    assert text("FaceGenEmbedFace").startswith("picture 0: 2 found, 1 used (quality ")
    assert text("FaceGenLikeness") == "picture 0: 99 % by w600k_r50 (cosine 1.00)"
    assert text("FaceGenSafetyFilter") == "picture 0: unsafe (0.00), black, whole image"
    page.wait_for_function(f"() => {node.format('FaceGenEmbedFace')}.imgs?.[0].naturalWidth === 768", timeout=20_000)
    for kind in ("FaceGenLikeness", "FaceGenSafetyFilter"):
        assert not page.evaluate(f"() => {node.format(kind)}.imgs?.length")
    page.evaluate("() => { app.graph.arrange(); app.extensionManager.command.execute('Comfy.Canvas.FitView'); }")
    page.wait_for_timeout(1500)
    shot(page, "on-nodes")


def test_the_remote_node_shows_how_its_request_stands(page, server, photo):
    """While it runs: state, seconds so far and to go."""
    file = server.base / "user" / "facegen" / "modelslab.json"
    file.parent.mkdir(exist_ok=True)
    graph = workflows.load("api/modelslab_remote.json")
    (remote,) = [node["inputs"] for node in graph.values() if node["class_type"] == "FaceGenModelsLab"]
    (image,) = [node["inputs"] for node in graph.values() if node["class_type"] == "LoadImage"]
    image["image"] = "face.png"
    with ModelsLabServer(eta=4) as service:
        remote |= {"profile": "shown", "seed": service.port}
        file.write_text(json.dumps({"shown": {"key": KEY, "base_url": service.url}}))
        file.chmod(0o600)
        try:
            page.evaluate("graph => app.loadApiJson(graph, 'remote.json')", graph)
            page.evaluate("() => app.queuePrompt(0, 1)")
            page.get_by_text(re.compile(r"\d s, about \d s left, request 123")).first.wait_for(timeout=30_000)
            shot(page, "remote")
            shown = "() => app.graph._nodes.some(n => n.type === 'SaveImage' && n.imgs?.[0]?.naturalWidth)"
            page.wait_for_function(shown, timeout=60_000)
            assert service.billed == 1
        finally:
            file.unlink()


def test_a_missing_file_is_told_in_the_combo(page, server):
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
        shot(page, "missing-file")
        page.errors[:] = [error for error in page.errors if "Prompt execution failed" not in error]  # the refused run
    finally:
        (server.base / "aside").rename(file)
    page.keyboard.press("Escape")
    page.evaluate("() => app.refreshComboInNodes()")
    assert page.evaluate(f"{combo}.options.values") == [file.name]


STORE = "document.querySelector('#vue-app').__vue_app__.config.globalProperties.$pinia._s.get('nodeDef')"


def test_a_node_is_found_by_what_people_type(page, server):
    """By the front end's own search, where the schema has other names for it."""
    if not server.get("/object_info/FaceGenSampler")["FaceGenSampler"].get("search_aliases"):
        return
    typed = {"instantid": "ApplyFaceID", "headshot": "Sampler", "nsfw": "SafetyFilter", "face similarity": "Likeness"}
    for text, wanted in typed.items():
        search = f"text => {STORE}.nodeSearchService.searchNode(text, []).map(node => node.name)"
        assert f"FaceGen{wanted}" in page.evaluate(search, text)[:20]


def test_what_few_need_is_folded_away(page, server):
    """In Nodes 2.0, until the button on the node is pressed; the classic nodes of today's front ends show everything."""
    inputs = server.get("/object_info/FaceGenSampler")["FaceGenSampler"]["input"]["required"]
    if not inputs["scheduler"][1].get("advanced"):
        return
    page.evaluate("() => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', true)")
    try:
        page.evaluate("""() => {
            const node = LiteGraph.createNode('FaceGenSampler');
            app.graph.add(node);
            node.pos = [100, 50];
            app.canvas.ds.reset();
        }""")
        node = page.locator("[data-node-id]").first
        node.get_by_text("num_inference_steps").first.wait_for(timeout=20_000)
        assert node.get_by_text("scheduler").count() == 0
        shot(page, "folded")
        page.get_by_test_id("advanced-inputs-button").first.dispatch_event("click")
        node.get_by_text("scheduler").first.wait_for(timeout=20_000)
    finally:
        page.evaluate("() => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")


def test_the_local_api_is_a_switch_in_the_settings(page, server):
    def served():
        return server.get("/facegen/settings")["local_api"]["enabled"]

    def switch(value):
        page.evaluate("value => app.extensionManager.setting.set('FaceGen.LocalApi.Enabled', value)", value)
        page.wait_for_function(
            "async wanted => (await (await fetch('/facegen/settings')).json()).local_api.enabled === wanted", arg=value
        )

    assert not served()
    switch(True)
    assert served()
    page.evaluate("() => app.extensionManager.command.execute('Comfy.ShowSettingsDialog')")
    page.wait_for_timeout(1500)
    shot(page, "settings")
    page.keyboard.press("Escape")
    switch(False)
    assert not served()


def test_a_refused_switch_goes_back(page, server):
    """The reason is shown, and the setting says what is true."""
    path = server.base / "user" / "facegen" / "local_api.json"
    path.parent.mkdir(exist_ok=True)
    before = path.read_text() if path.exists() else None
    path.write_text("{")
    try:
        page.evaluate("() => app.extensionManager.setting.set('FaceGen.LocalApi.Enabled', true)")
        page.wait_for_function('() => document.body.innerText.includes("can\'t be read as JSON")', timeout=20_000)
        page.wait_for_function("() => app.extensionManager.setting.get('FaceGen.LocalApi.Enabled') === false", timeout=20_000)
        assert path.read_text() == "{"
    finally:
        path.unlink() if before is None else path.write_text(before)


def test_help_is_there_for_every_node(page, server):
    nodes = [name for name in server.get("/object_info") if name.startswith("FaceGen")]
    missing = page.evaluate(
        """async names => {
            const without = [];
            for (const name of names) {
                const url = `/extensions/${encodeURIComponent('my-faces')}/docs/${name}.md`;
                const answer = await fetch(url);
                if (!answer.ok || !(await answer.text()).startsWith('# ')) without.push(name);
            }
            return without;
        }""",
        nodes,
    )
    assert len(nodes) > 14 and missing == []


@pytest.fixture
def japanese(page):
    """The front end after its language was changed to Japanese in the settings."""
    titled = "title => LiteGraph.createNode('FaceGenApplyFaceID').title === title"

    def switch(language, title):
        page.evaluate("language => app.extensionManager.setting.set('Comfy.Locale', language)", language)
        # The texts are fetched first; nodes that are read before that keep the old ones.
        speaks = "document.querySelector('#vue-app').__vue_app__.config.globalProperties.$i18n.locale === language"
        page.wait_for_function(f"language => {speaks}", arg=language, timeout=60_000)
        page.evaluate("() => app.extensionManager.command.execute('Comfy.RefreshNodeDefinitions')")
        page.wait_for_function(titled, arg=title, timeout=60_000)

    try:
        switch("ja", locale("ja", "nodeDefs")["FaceGenApplyFaceID"]["display_name"])
        yield page
    finally:
        page.evaluate("() => app.extensionManager.sidebarTab.activeSidebarTabId = null")
        switch("en", "Apply FaceID (FaceGen)")


def test_texts_nodes_and_help_are_in_the_user_s_language(japanese):
    ours = locale("ja", "main") | {file: locale("ja", file) for file in ("nodeDefs", "settings")}
    texts = {".".join(path): text for path, text in leaves(ours)}
    translate = "document.querySelector('#vue-app').__vue_app__.config.globalProperties.$t"
    # As they are written: nothing in them is the front end's own syntax.
    assert japanese.evaluate(f"keys => Object.fromEntries(keys.map(key => [key, {translate}(key)]))", list(texts)) == texts
    shown = japanese.evaluate(
        """async () => {
            const node = LiteGraph.createNode('FaceGenApplyFaceID');
            app.graph.add(node);
            const widget = node.widgets.find(w => w.name === 's_scale');
            return [node.inputs.find(i => i.name === 'face_embeds').localized_name, widget.label];
        }"""
    )
    names = ours["nodeDefs"]["FaceGenApplyFaceID"]["inputs"]
    assert shown == [names["face_embeds"]["name"], names["s_scale"]["name"]]
    open_help(japanese, "FaceGenApplyFaceID")
    page = (ROOT / "web" / "docs" / "FaceGenApplyFaceID" / "ja.md").read_text(encoding="utf-8")
    headings = [line.lstrip("# ") for line in page.splitlines() if line.startswith("#")]
    japanese.wait_for_function(
        "headings => headings.every(one => document.querySelector('.node-help-content')?.innerText.includes(one))",
        arg=headings,
        timeout=20_000,
    )


def test_every_node_is_drawn(page):
    """The help pages' pictures are these."""
    from PIL import Image

    nodes = page.evaluate("() => Object.keys(LiteGraph.registered_node_types).filter(id => id.startsWith('FaceGen'))")
    assert len(nodes) > 14
    for node_id in nodes:
        picture = shot(page, node_id, clip=page.evaluate(ALONE, node_id))
        assert len(Image.open(picture).convert("L").getcolors()) > 50  # words and widgets, not an empty box


def test_the_template_that_needs_no_download_draws_a_portrait(page, server):
    from PIL import Image

    (picture,) = photos(4)
    Image.fromarray((picture.numpy() * 255).round().astype("uint8")).save(server.base / "input" / "drawn.png")
    open_template(page, "try_without_models")
    # A node that is not in view has no pictures either: it is never drawn.
    page.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    page.evaluate(
        """() => {
            const [image] = app.graph._nodes.find(n => n.type === 'LoadImage').widgets;
            image.value = 'drawn.png';
            image.callback(image.value);
            app.queuePrompt(0, 1);
        }"""
    )
    drawn = "app.graph._nodes.find(n => n.type === 'SaveImage').imgs"
    page.wait_for_function(f"() => {drawn}?.length && {drawn}.every(i => i.complete)", timeout=180_000)
    assert page.evaluate(f"() => {drawn}.map(i => [i.naturalWidth, i.naturalHeight])") == [[128, 128]] * 4
    page.wait_for_timeout(1500)
    shot(page, "tiny")


def test_the_template_browser_shows_them(page):  # the last: its dialog stays open
    page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    page.get_by_text("my-faces", exact=True).last.click()
    for name in ("portrait_sd15", "two_people_masks"):
        page.get_by_text(name).first.wait_for()
    page.wait_for_timeout(1000)  # thumbnails
    shot(page, "templates")
    in_view = "() => Array.from(document.images).filter(i => i.naturalWidth === 800 && i.naturalHeight === 500).length"
    assert page.evaluate(in_view) > 3
