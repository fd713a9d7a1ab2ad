// The pack's settings.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const LOCAL_API = "FaceGen.LocalApi.Enabled";
const PROFILE = "FaceGen.ModelsLab.Profile";
const ROUTE = "/facegen/settings";
const IN_USE = "/facegen/local_api";

const profiles = ["default"];
let served = null; // whether the local API is on, as the server said last

async function call(options, route = ROUTE) {
  const response = await api.fetchApi(route, options);
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
  await tell();
}

// ComfyUI translates names and tooltips of settings, but not what is shown in one. Reasons are the server's, in English.
const STATES = {
  en: {
    refused: (reason) => `Can't be on: ${reason}`,
    on: (address) => `On, at ${address}`,
    off: (address) => `Off. When on, at ${address}`,
    usual: (name) => `${name} (if a request names no flavour)`,
    unusable: "can't be used.",
    none: "no files",
  },
  zh: {
    refused: (reason) => `无法开启：${reason}`,
    on: (address) => `已开启，地址 ${address}`,
    off: (address) => `已关闭。开启后的地址 ${address}`,
    usual: (name) => `${name}（请求未指定 flavour 时使用）`,
    unusable: "无法使用。",
    none: "没有文件",
  },
  ja: {
    refused: (reason) => `オンにできません：${reason}`,
    on: (address) => `オン。アドレスは ${address}`,
    off: (address) => `オフ。オンにしたときのアドレスは ${address}`,
    usual: (name) => `${name}（リクエストがflavourを指定しないとき）`,
    unusable: "使えません。",
    none: "ファイルなし",
  },
};

/** Where the local API is and with which files it makes pictures, line by line, in the user's language. */
function describe({ address, enabled, reason, default: usual, flavours }) {
  const say = STATES[app.extensionManager.setting.get("Comfy.Locale")] ?? STATES.en;
  if (reason) return [say.refused(reason)];
  const lines = [enabled ? say.on(address) : say.off(address)];
  for (const [name, { files, missing }] of Object.entries(flavours)) {
    const what = name === usual ? say.usual(name) : name;
    const used = Object.entries(files).map(([kind, file]) => `${kind} ${file}`);
    lines.push(`${what}: ${missing.length ? `${say.unusable} ${missing.join(" ")}` : used.join(", ") || say.none}`);
  }
  return lines;
}

const state = document.createElement("div");
state.style.cssText = "white-space: pre-line; overflow-wrap: anywhere; user-select: text; max-width: 36em;";
state.setAttribute("role", "status");

async function tell() {
  try {
    state.textContent = describe(await call({ cache: "no-store" }, IN_USE)).join("\n");
  } catch (error) {
    state.textContent = String(error.message ?? error);
  }
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
      id: "FaceGen.LocalApi.State",
      category: ["FaceGen", "Local Face Generator API", "State"],
      name: "Address and files",
      tooltip: "Which files a flavour uses is set in user/facegen/local_api.json.",
      type: () => {
        tell();
        return state;
      },
      defaultValue: null,
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
    if (!node.comfyClass?.startsWith("FaceGen")) return;
    // The canvas has no room for the name of a text. Until there is one, it stands in its place, in the user's language.
    for (const { element, name, label } of node.widgets ?? []) {
      if (element instanceof HTMLTextAreaElement && label && label !== name) element.placeholder = label;
    }
    if (node.comfyClass !== "FaceGenModelsLab") return;
    const widget = node.widgets?.find((one) => one.name === "profile");
    const wanted = app.extensionManager.setting.get(PROFILE);
    if (widget && wanted) widget.value = wanted; // a loaded workflow sets its own value after this
  },
});
