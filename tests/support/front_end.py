"""ComfyUI's front end in headless Chromium: how it is started, what is opened in it, pictures of it."""

import os
import shutil
from pathlib import Path

from host_server import ROOT

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
