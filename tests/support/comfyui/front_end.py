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
SETTINGS = {
    "Comfy.TutorialCompleted": True,  # otherwise the templates cover the first visit
    "Comfy.Workflow.ShowMissingModelsWarning": False,  # the published files are missing here
    "LiteGraph.Canvas.MinFontSizeForLOD": 0,  # readable screenshots
    "Comfy.NodeBadge.NodeSourceBadgeMode": "None",
}
ALONE = """async (id) => {
    app.graph.clear();
    const node = LiteGraph.createNode(id);
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
# What the front end itself complains of on a machine without its user's files and without the internet.
NOISE = ("Failed to load resource", "ERR_NAME_NOT_RESOLVED", "ERR_INTERNET_DISCONNECTED", "Failed to fetch")


def shot(page, name, **options):
    version = Path(os.environ["COMFYUI_PATH"]).name
    ARTEFACTS.mkdir(exist_ok=True)
    path = ARTEFACTS / f"{version}-{name}.png"
    page.screenshot(path=path, **options)
    return path


def open_template(page, name):
    """As the template browser opens it; returns the graph that would be queued."""
    return page.evaluate(
        """async (name) => {
            const all = await (await fetch('/api/workflow_templates')).json();
            const pack = Object.keys(all).find(one => all[one].includes(name));
            const url = `/api/workflow_templates/${encodeURIComponent(pack)}/${name}.json`;
            await app.loadGraphData(await (await fetch(url)).json());
            return (await app.graphToPrompt()).output;
        }""",
        name,
    )


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
