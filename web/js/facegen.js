// The pack's settings.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const LOCAL_API = "FaceGen.LocalApi.Enabled";
const PROFILE = "FaceGen.ModelsLab.Profile";
const ROUTE = "/facegen/settings";

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

  nodeCreated(node) {
    if (node.comfyClass !== "FaceGenModelsLab") return;
    const widget = node.widgets?.find((one) => one.name === "profile");
    const wanted = app.extensionManager.setting.get(PROFILE);
    if (widget && wanted) widget.value = wanted; // a loaded workflow sets its own value after this
  },
});
