"""The pack in ComfyUI's own front end, in headless Chromium, besides its nodes: settings, languages, help, lists."""

import json
import re

import pytest

import workflows
from front_end import draws_nodes_2, open_front_end, open_help, shot
from modelslab_server import KEY, ModelsLabServer
from node_source import leaves, locale
from pack import ROOT
from small_runs import by_place

pytestmark = pytest.mark.usefixtures("alone")
TEXTS = json.loads((ROOT / "web" / "templates.json").read_text(encoding="utf-8"))
TITLES = {name: texts["en"][0] for name, texts in TEXTS.items()}


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


STORES = "document.querySelector('#vue-app').__vue_app__.config.globalProperties.$pinia._s"
STORE = f"{STORES}.get('nodeDef')"


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


# What the front end reads for the template browser; older ones ask for the first list first, nobody promises it.
LISTED = """async () => {
    const {api} = window.comfyAPI.api;
    const [groups, packs] = await Promise.all([api.getCoreWorkflowTemplates('ja'), api.getWorkflowTemplates()]);
    const group = groups.find(one => one.moduleName === 'my-faces');
    return [(group?.templates ?? []).map(one => one.title), packs['my-faces'] ?? [], groups.length];
}"""


@pytest.mark.parametrize("texts", ["there", "lost", "stuck"])
def test_templates_are_in_one_list_whichever_is_asked_for_first(page, server, texts):
    """With their titles in the user's language, or by their names where the titles can't be had; ComfyUI's own in any case."""
    other = page.context.new_page()  # which knows the front end's files
    try:
        if texts != "there":
            other.route("**/templates.json", lambda route: route.abort() if texts == "lost" else None)
        open_front_end(other, server)
        titles, names, groups = other.evaluate(LISTED)
        if texts == "there":
            assert (titles, names) == ([words["ja"][0] for words in TEXTS.values()], [])
            assert other.evaluate(LISTED) == [titles, names, groups]
        else:
            assert (titles, sorted(names)) == ([], sorted(TEXTS))
        assert groups == len(other.evaluate("async () => (await fetch('/templates/index.json')).json()")) + bool(titles)
    finally:
        other.close()


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
    dialog = page.get_by_role("dialog").last
    dialog.get_by_text("FaceGen", exact=True).first.click()
    dialog.get_by_text(f"On, at http://127.0.0.1:{server.port}/api/v6/image_editing/face_gen").wait_for()
    dialog.get_by_text("tiny: ").wait_for()
    shot(page, "settings")
    switch(False)
    dialog.get_by_text("Off. When on, at http://").wait_for()
    switch(True)
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


@pytest.mark.newest
def test_under_another_name_there_is_nothing_to_complain_of(browser, server):
    """Through a tunnel or a cloud's name, while the local API is off: no message, and the switch is off."""
    other = browser.new_page()
    try:
        other.goto(f"http://abc.cloud.localhost:{server.port}/", wait_until="domcontentloaded", timeout=180_000)
        other.wait_for_function("() => window.app?.extensions?.some(e => e.name === 'FaceGen')", timeout=180_000)
        asked = "async () => (await (await fetch('/facegen/settings')).json()).local_api.reason"
        assert "abc.cloud.localhost, which is not listed in served_as" in other.evaluate(asked)
        other.wait_for_function("() => app.extensionManager.setting.get('FaceGen.LocalApi.Enabled') === false", timeout=60_000)
        other.wait_for_timeout(500)
        assert other.locator(".p-toast-message").count() == 0
    finally:
        other.close()


def test_help_is_there_for_every_node(page, server):
    all_nodes = server.get("/object_info").items()
    nodes = [name for name, info in all_nodes if name.startswith("FaceGen") and not info["deprecated"]]
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


def test_the_blueprints_are_in_a_category_of_their_own(page, server):
    if not draws_nodes_2(server):
        pytest.skip("this front end reads no category of a blueprint")
    store = "document.querySelector('#vue-app').__vue_app__.config.globalProperties.$pinia._s.get('subgraph')"
    listed = (
        f"{store}.subgraphBlueprints.filter(one => one.category === 'Subgraph Blueprints/FaceGen').map(one => one.display_name)"
    )
    page.wait_for_function(f"() => {listed}.length === {len(workflows.BLUEPRINT_NAMES)}", timeout=20_000)
    assert sorted(page.evaluate(f"() => {listed}")) == workflows.BLUEPRINT_NAMES


@pytest.mark.parametrize("name", workflows.BLUEPRINT_NAMES)
def test_the_front_end_queues_what_a_blueprint_s_widgets_say(page, server, name):
    """The graph is the one that the tests of blueprints run: each widget reaches the same input of the same node."""
    if not draws_nodes_2(server):
        pytest.skip("this front end's subgraphs are a first draft")
    workflow = workflows.blueprint(name)
    (node,) = workflow["nodes"]
    node["widgets_values"] = [changed(value, place) for place, value in enumerate(node["widgets_values"])]
    queue = "async workflow => { await app.loadGraphData(workflow); return (await app.graphToPrompt()).output; }"
    assert by_place(page.evaluate(queue, workflow)) == by_place(workflows.to_api(workflow, server.get("/object_info")))


def changed(value, place):
    """Another value for a widget, its own for each place; what is chosen from a list stays as it is."""
    if isinstance(value, str):
        return value or f"text {place}"
    return value * 2 if isinstance(value, float) else value + 8 * (1 + place)


@pytest.fixture(scope="class")
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


class TestLanguages:
    def test_the_state_of_the_local_api_is_in_the_user_s_language(self, japanese):
        japanese.evaluate("() => app.extensionManager.command.execute('Comfy.ShowSettingsDialog')")
        dialog = japanese.get_by_role("dialog").last
        dialog.get_by_text("FaceGen", exact=True).first.click()
        dialog.get_by_text("オフ。オンにしたときのアドレスは http://").wait_for(timeout=20_000)
        japanese.keyboard.press("Escape")

    def test_texts_nodes_and_help_are_in_the_user_s_language(self, japanese):
        ours = locale("ja", "main") | {file: locale("ja", file) for file in ("nodeDefs", "settings")}
        texts = {".".join(path): text for path, text in leaves(ours)}
        translate = "document.querySelector('#vue-app').__vue_app__.config.globalProperties.$t"
        # As they are written: nothing in them is the front end's own syntax.
        assert japanese.evaluate(f"keys => Object.fromEntries(keys.map(key => [key, {translate}(key)]))", list(texts)) == texts
        shown = japanese.evaluate(
            """async () => {
                const node = LiteGraph.createNode('FaceGenApplyFaceID');
                node.id = 7000;  // 0.33.0 gives a number's widgets the labels that they had
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


def test_the_template_browser_shows_them(page):
    page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    # Older ones name the group of templates, newer ones the pack's folder.
    dialog = page.get_by_role("dialog").last  # a message beside it may be headed FaceGen, too
    dialog.get_by_text("my-faces", exact=True).or_(dialog.get_by_text("FaceGen", exact=True)).last.click()
    for title in list(TITLES.values())[:4]:
        dialog.get_by_text(title, exact=True).first.wait_for()
    page.wait_for_timeout(1000)  # thumbnails
    shown = page.evaluate("() => document.body.innerText.split('\\n')")
    listed = [line for line in shown if line in TITLES.values()]
    assert listed == list(TITLES.values())[: len(listed)] and len(listed) > 3  # in this order
    assert not set(workflows.NAMES) & set(shown)
    shot(page, "templates")
    in_view = "() => Array.from(document.images).filter(i => i.naturalWidth === 800 && i.naturalHeight === 500).length"
    assert page.evaluate(in_view) > 3
    # It would cover what comes next. (0.8.0's takes no Escape.)
    page.evaluate(f"() => {STORES}.get('dialog').closeDialog()")
    page.wait_for_function("() => !document.querySelector('[role=dialog]')", timeout=20_000)
