// What the pack's templates ask of the front end when one is opened: the drawn face, the pack's folder in notes, the view.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const MARK = "facegenTemplate"; // in a template's `extra`, and in what a user saves of it
const FACE = "facegen_drawn_face.png"; // what Load Image shows until the user's own photo is chosen
const FACE_FILE = new URL("../drawn_face.png", import.meta.url);
const [, FOLDER] = new URL(import.meta.url).pathname.match(/\/extensions\/([^/]+)\//);
const FRAMES = 300; // to wait for the front end while the canvas is hidden
const VISIBLE_FRAMES = 30; // and once it is there: what moves it later is the user
const NOTES = ["MarkdownNote", "Note"];

const nodes = (graph) => [...graph.nodes, ...(graph.definitions?.subgraphs ?? []).flatMap((inside) => inside.nodes)];

/** Put the drawn face where Load Image looks, as if the user had chosen the file there. One that is there stays. */
async function upload() {
  const there = await api.fetchApi(`/view?type=input&filename=${FACE}`, { method: "HEAD" });
  if (there.ok) return;
  const body = new FormData();
  body.append("image", new File([await (await fetch(FACE_FILE)).blob()], FACE, { type: "image/png" }));
  const response = await api.fetchApi("/upload/image", { method: "POST", body });
  if (!response.ok) throw new Error(`The drawn face could not be put into ComfyUI's input folder: HTTP ${response.status}`);
}

/**
 * Newer front ends fit the whole graph of a template into the window, where nobody can read it; while an app hides the canvas,
 * they do so some frames later. Where they leave the view alone, as when a change is undone, it stays.
 */
function showAsLaidOut({ scale, offset }, before, frames) {
  if (before !== viewBefore) return; // another graph is there
  const { ds, canvas } = app.canvas;
  if (ds.scale !== before.scale || ds.offset[0] !== before.offset[0] || ds.offset[1] !== before.offset[1]) {
    ds.scale = scale;
    ds.offset = [...offset];
    app.canvas.setDirty(true, true);
  } else if (frames) {
    const left = canvas.width ? Math.min(frames, VISIBLE_FRAMES) : frames;
    requestAnimationFrame(() => showAsLaidOut({ scale, offset }, before, left - 1));
  }
}

let viewBefore = null; // of the graph that is there, if it is a template
let faceIsThere = false;

app.registerExtension({
  name: "FaceGen.Templates",

  async beforeConfigureGraph(graph) {
    viewBefore = null;
    if (!graph?.extra?.[MARK]) return;
    viewBefore = { scale: app.canvas.ds.scale, offset: [...app.canvas.ds.offset] };
    for (const node of nodes(graph).filter((one) => NOTES.includes(one.type))) {
      node.widgets_values = node.widgets_values.map((text) => text.replaceAll("custom_nodes/<folder>", `custom_nodes/${decodeURIComponent(FOLDER)}`));
    }
    if (!nodes(graph).some((node) => node.type === "LoadImage" && node.widgets_values?.[0] === FACE)) return;
    try {
      await upload();
      faceIsThere = true;
    } catch (error) {
      app.extensionManager.toast.add({ severity: "error", summary: "FaceGen", detail: error.message, life: 15000 });
    }
  },

  // The list of files was read before this one was there.
  loadedGraphNode(node) {
    if (!faceIsThere || node.type !== "LoadImage") return;
    const { value, options } = node.widgets?.find((one) => one.name === "image") ?? {};
    if (value === FACE && Array.isArray(options.values) && !options.values.includes(FACE)) options.values.push(FACE);
  },

  afterConfigureGraph() {
    const { extra } = app.rootGraph ?? app.graph;
    const hidden = !app.canvas.canvas.width;
    if (viewBefore && extra?.ds) showAsLaidOut(extra.ds, viewBefore, hidden ? FRAMES : 0);
  },
});
