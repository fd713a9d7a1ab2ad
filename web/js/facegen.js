// What ComfyUI's own front end does not do for this pack: its settings, and the lines of text that a node shows after a run.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { ComfyWidgets } from "../../../scripts/widgets.js";

const LOCAL_API = "FaceGen.LocalApi.Enabled";
const PROFILE = "FaceGen.ModelsLab.Profile";
const ROUTE = "/facegen/settings";
const REPORT = "facegen_report";

const profiles = ["default"];
let served = null; // whether the local API is on, as the server said last

async function call(options) {
  const response = await api.fetchApi(ROUTE, options);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error ?? answer.message ?? `HTTP ${response.status}`);
  return answer;
}

function complain(error) {
  app.extensionManager.toast.add({ severity: "error", summary: "FaceGen", detail: String(error.message ?? error), life: 15000 });
}

async function serve(enabled) {
  if (served === null || enabled === served) return;
  try {
    const body = JSON.stringify({ local_api: { enabled } });
    served = (await call({ method: "POST", headers: { "Content-Type": "application/json" }, body })).local_api.enabled;
  } catch (error) {
    complain(error);
  }
  if (served !== enabled) await app.extensionManager.setting.set(LOCAL_API, served);
}

function showText(node, lines) {
  let widget = node.widgets?.find((one) => one.name === REPORT);
  if (!widget) {
    widget = ComfyWidgets.STRING(node, REPORT, ["STRING", { multiline: true }], app).widget;
    widget.serialize = false; // belongs to the run, not to the workflow
    widget.options.serialize = false;
    if (widget.inputEl) widget.inputEl.readOnly = true;
  }
  widget.value = lines.join("\n");
  requestAnimationFrame(() => {
    const [width, height] = node.computeSize();
    node.setSize([Math.max(width, node.size[0]), Math.max(height, node.size[1])]);
    app.graph.setDirtyCanvas(true, false);
  });
}

app.registerExtension({
  name: "FaceGen",
  settings: [
    {
      id: LOCAL_API,
      category: ["FaceGen", "Local Face Generator API", "Serve it"],
      name: "Serve the Face Generator API from this ComfyUI",
      tooltip: "Programs that were written for the hosted Face Generator can then use this machine.",
      type: "boolean",
      defaultValue: false,
      onChange: serve,
    },
    {
      id: PROFILE,
      category: ["FaceGen", "ModelsLab", "Profile"],
      name: "ModelsLab profile of new nodes",
      tooltip: "Profiles and their keys are in user/facegen/modelslab.json; no key ever reaches the browser.",
      type: "combo",
      options: () => profiles,
      defaultValue: "default",
    },
  ],

  async setup() {
    try {
      const state = await call();
      profiles.splice(0, profiles.length, ...new Set(["default", ...state.modelslab.profiles]));
      served = state.local_api.enabled;
      await app.extensionManager.setting.set(LOCAL_API, served);
    } catch (error) {
      complain(error);
    }
  },

  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith("FaceGen")) return;
    const executed = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (message) {
      executed?.apply(this, arguments);
      const lines = (message?.text ?? []).filter(Boolean);
      if (lines.length || this.widgets?.some((one) => one.name === REPORT)) showText(this, lines);
    };
  },

  nodeCreated(node) {
    if (node.comfyClass !== "FaceGenModelsLab") return;
    const widget = node.widgets?.find((one) => one.name === "profile");
    const wanted = app.extensionManager.setting.get(PROFILE);
    if (widget && wanted) widget.value = wanted; // a loaded workflow sets its own value after this
  },
});
