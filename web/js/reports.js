// A node's report: the lines of text that it shows after a run, read-only, on the canvas and in Nodes 2.0 alike.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const REPORT = "report";
const LINE = 18; // pixels, until the browser has measured the text
const TALLEST = 320; // pixels; what is longer scrolls
const FRAME = 20; // pixels that the canvas leaves free above and below an element, together
const RUNS = 16; // of the history, the newest
const STYLE = "overflow: auto; border-radius: 8px; background: var(--comfy-input-bg, #222); color: var(--input-text, #ddd);";
const TEXT_STYLE = "padding: 4px 8px; font-size: 12px; line-height: 1.4; white-space: pre-wrap; overflow-wrap: anywhere; user-select: text;";

const shown = new WeakSet(); // nodes that show what a run gave
const asked = new WeakMap(); // node -> the prompt in which it was not run again, and which was looked for in the history

const root = () => app.canvas && (app.rootGraph ?? app.graph); // there is no graph until there is a canvas

/** The report's widget, made when a node has something to say for the first time. */
function addReport(node) {
  const frame = document.createElement("div");
  const text = frame.appendChild(document.createElement("div"));
  frame.style.cssText = STYLE;
  text.style.cssText = TEXT_STYLE;
  text.setAttribute("role", "status"); // is read out when it changes
  const height = () => {
    if (!text.textContent) return 0;
    return FRAME + Math.min(TALLEST, text.offsetHeight || LINE * text.textContent.split("\n").length + 8);
  };
  const widget = node.addDOMWidget(REPORT, REPORT, frame, {
    serialize: false, // belongs to the run, not to the workflow
    hideInPanel: true,
    getMinHeight: height,
    getMaxHeight: height,
    getValue: () => text.textContent,
    setValue: (value) => {
      text.textContent = value;
      frame.style.display = value ? "" : "none";
    },
  });
  widget.serialize = false;
  // Words wrap when the node gets narrower, and are measured only once they are in view.
  new ResizeObserver(() => makeRoom(node)).observe(text);
  return widget;
}

function makeRoom(node) {
  if (!node.graph || LiteGraph.vueNodesMode) return; // Nodes 2.0 makes room by itself
  const [width, height] = node.computeSize();
  if (width > node.size[0] || height > node.size[1]) {
    node.setSize([Math.max(width, node.size[0]), Math.max(height, node.size[1])]);
  }
  node.setDirtyCanvas(true, true);
}

function show(node, output) {
  shown.add(node);
  const lines = [output?.text ?? []].flat().filter(Boolean);
  let widget = node.widgets?.find((one) => one.name === REPORT);
  if (!widget && !lines.length) return;
  widget ??= addReport(node);
  widget.value = lines.join("\n");
  makeRoom(node);
}

/** (number in a run, number among the outputs, node) of each of the pack's nodes, those in subgraphs included. */
function* ours(graph = root(), above = "") {
  for (const node of graph?.nodes ?? []) {
    const id = `${above}${node.id}`;
    if (node.isSubgraphNode?.()) yield* ours(node.subgraph, `${id}:`);
    else if (node.comfyClass?.startsWith("FaceGen")) yield [id, above ? `${graph.id}:${node.id}` : id, node];
  }
}

/** Whether a node, with all that leads to it, is in both prompts the same. Each is looked at once, however many paths lead there. */
function same(id, one, other, looked = new Set()) {
  if (looked.has(id)) return true; // where it is not the same, no more is asked
  looked.add(id);
  if (one[id]?.class_type !== other[id]?.class_type || !one[id]) return false;
  const names = Object.keys(one[id].inputs);
  if (names.length !== Object.keys(other[id].inputs).length) return false;
  return names.every((name) => {
    const [value, before] = [one[id].inputs[name], other[id].inputs[name]];
    if (JSON.stringify(value) !== JSON.stringify(before)) return false;
    return !Array.isArray(value) || !(value[0] in one) || same(value[0], one, other, looked);
  });
}

/**
 * Shows again what an earlier run of the same graph gave. ComfyUI tells a new page nothing of nodes that it doesn't run again:
 * of those before a cached node.
 */
async function restore(wasCached) {
  if ([...ours()].every(([, , node]) => shown.has(node))) return;
  const { output: prompt } = await app.graphToPrompt();
  const known = (id, node) => shown.has(node) || (asked.has(node) && same(id, prompt, asked.get(node)));
  const waiting = [...ours()].filter(([id, , node]) => id in prompt && !known(id, node));
  if (!waiting.length) return;
  const response = await api.fetchApi(`/history?max_items=${RUNS}`);
  if (!response.ok) return; // nothing is lost: the next run of the node shows it
  const runs = Object.entries(await response.json()).reverse();
  const now = new Set([...ours()].map(([, , node]) => node)); // another graph may have been opened meanwhile
  for (const [id, , node] of waiting) {
    if (!now.has(node) || shown.has(node)) continue;
    if (wasCached) asked.set(node, prompt);
    const run = runs.find(([, { prompt: [, , before], outputs }]) => outputs?.[id] && same(id, prompt, before));
    // As the server says it of nodes that it runs, so that pictures are shown, too.
    if (run) api.dispatchCustomEvent("executed", { prompt_id: run[0], node: id, display_node: id, output: run[1].outputs[id] });
  }
}

app.registerExtension({
  name: "FaceGen.Reports",

  setup() {
    api.addEventListener("execution_cached", () => restore(true));
  },

  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith("FaceGen")) return;
    const executed = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (output) {
      executed?.apply(this, arguments);
      show(this, output);
    };
    // The canvas adds the widget of a picture while it draws, and finds room for it when it draws again.
    const drawn = nodeType.prototype.onDrawBackground;
    nodeType.prototype.onDrawBackground = function () {
      const widgets = this.widgets?.length;
      drawn?.apply(this, arguments);
      if (this.widgets?.length !== widgets) requestAnimationFrame(() => this.setDirtyCanvas(true, true));
    };
  },

  // Another workflow's tab was opened, or a run was chosen from the history.
  onNodeOutputsUpdated(outputs) {
    for (const [, place, node] of ours()) if (outputs[place]) show(node, outputs[place]);
  },

  afterConfigureGraph: () => restore(false),
});
