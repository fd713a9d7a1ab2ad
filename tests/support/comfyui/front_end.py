"""ComfyUI's front end in headless Chromium: how it is started, what is opened in it, pictures of it."""

import os
import shutil
from pathlib import Path

from pack import ROOT

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
ARTEFACTS = ROOT / "test-artifacts"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
]
NODES_2 = "Comfy.VueNodes.Enabled"
SETTINGS = {
    NODES_2: False,  # which is the default of new users; the tests of nodes switch it
    "Comfy.TutorialCompleted": True,  # otherwise the templates cover the first visit
    "Comfy.Workflow.ShowMissingModelsWarning": False,  # the published files are missing here
    "LiteGraph.Canvas.MinFontSizeForLOD": 0,  # readable screenshots
    "Comfy.NodeBadge.NodeSourceBadgeMode": "None",
}
ALONE = """async (id) => {
    app.graph.clear();
    const node = LiteGraph.createNode(id);
    node.id = app.facegenAlone = (app.facegenAlone ?? 1000) + 1;  // 0.33.0 gives a number's widgets their earlier values
    app.graph.add(node);
    node.pos = [0, 0];
    const [width, height] = node.computeSize();
    node.setSize([Math.max(width, 300), height]);
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [120, 160];
    app.canvas.setDirty(true, true);
    await new Promise(done => setTimeout(done, 300));
    const at = app.canvas.canvas.getBoundingClientRect();
    return {x: at.x + 104, y: at.y + 112, width: node.size[0] + 32, height: node.size[1] + 64};
}"""  # the node with nothing around it; gives its place on the page
IDLE = "async () => Object.values(await (await fetch('/queue')).json()).every(jobs => !jobs.length)"
# What the front end itself complains of on a machine without its user's files and without the internet.
# 0.8.0 complains of its own graph when nodes are read anew after a change of the language.
NOISE = (
    "Failed to load resource",
    "ERR_NAME_NOT_RESOLVED",
    "ERR_INTERNET_DISCONNECTED",
    "Failed to fetch",
    "Attempted to cleanup event listeners for graph that was never set up",
)


def open_front_end(page, server):
    page.goto(f"http://127.0.0.1:{server.port}/", wait_until="domcontentloaded")
    ready = "() => window.app?.canvas && window.app.extensionManager && window.app.extensions.some(e => e.name === 'FaceGen')"
    page.wait_for_function(ready, timeout=180_000)
    page.wait_for_function("() => Object.keys(LiteGraph.registered_node_types).includes('FaceGenSampler')", timeout=60_000)


def shot(page, name, **options):
    version = Path(os.environ["COMFYUI_PATH"]).name
    ARTEFACTS.mkdir(exist_ok=True)
    path = ARTEFACTS / f"{version}-{name}.png"
    page.screenshot(path=path, **options)
    return path


def draws_nodes_2(server):
    """Whether this ComfyUI's Nodes 2.0 are past their beginnings."""
    version = server.get("/system_stats")["system"]["comfyui_version"]
    return tuple(map(int, version.split(".")[:2])) >= (0, 33)


def open_template(page, name, as_graph=False):
    """As the template browser opens it; returns the graph that would be queued. `as_graph` leaves out that it is an app."""
    return page.evaluate(
        """async ([name, asGraph]) => {
            const all = await (await fetch('/api/workflow_templates')).json();
            const pack = Object.keys(all).find(one => all[one].includes(name));
            const url = `/api/workflow_templates/${encodeURIComponent(pack)}/${name}.json`;
            const workflow = await (await fetch(url)).json();
            if (asGraph) delete workflow.extra.linearMode;
            await app.loadGraphData(workflow, true, true, name, {openSource: 'template'});
            return (await app.graphToPrompt()).output;
        }""",
        [name, as_graph],
    )


def pictures(page, node_type):
    """Sizes of the pictures that the first node of a type shows, on the canvas or as Nodes 2.0."""
    return page.evaluate(
        """type => {
            const node = app.graph._nodes.find(one => one.type === type);
            const drawn = () => document.querySelectorAll(`[data-node-id="${node.id}"] img`);
            const shown = LiteGraph.vueNodesMode ? drawn() : node.imgs ?? [];
            return [...shown].filter(one => one.complete).map(one => [one.naturalWidth, one.naturalHeight]);
        }""",
        node_type,
    )


def wait_for_pictures(page, node_type, size, timeout=180):
    """Until a node of a type shows a picture of this size, and nothing else; fit the view first, or it is never drawn."""
    page.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    for _ in range(4 * timeout):
        if (shown := pictures(page, node_type)) and all(one == size for one in shown):
            return shown
        page.wait_for_timeout(250)
    raise TimeoutError(f"{node_type} shows {pictures(page, node_type)}")


def show_error(page, text):
    """Wait until the words of a refused run are shown. Newer front ends show a line of their own first; the node's words are
    behind its button and the sign beside the node's name."""
    overlay = page.get_by_test_id("error-overlay-see-errors")
    overlay.or_(page.get_by_text(text)).first.wait_for(timeout=20_000)
    if overlay.count():
        overlay.first.click()
        page.get_by_test_id("error-group-execution").locator("button:has(i[class*=info])").first.click()
    page.get_by_text(text).first.wait_for(timeout=20_000)


def open_help(page, node_id):
    """As a user does: by the sign above the selected node; before there was one for all nodes, by the list of nodes."""
    page.evaluate(
        """id => {
            const node = LiteGraph.createNode(id);
            app.graph.add(node);
            node.pos = [500, 450];  // in view, with room for the signs above it
            app.canvas.ds.scale = 1;
            app.canvas.ds.offset = [0, 0];
            app.canvas.selectNode(node);
            app.canvas.setDirty(true, true);
        }""",
        node_id,
    )
    page.wait_for_timeout(1000)
    if page.get_by_test_id("info-button").count():
        page.get_by_test_id("info-button").first.dispatch_event("click")  # the menu may lie over it
        return
    page.evaluate("() => app.extensionManager.command.execute('Workspace.ToggleSidebarTab.node-library')")
    page.wait_for_selector(".sidebar-content-container")
    page.evaluate(
        """id => {
            const stores = document.querySelector('#vue-app').__vue_app__.config.globalProperties.$pinia._s;
            stores.get('nodeHelp').openHelp(stores.get('nodeDef').nodeDefsByName[id]);
        }""",
        node_id,
    )
