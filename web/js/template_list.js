// Titles, descriptions and order of the pack's templates in the template browser. Of a pack it knows file names alone, and in
// no order; of ComfyUI's own templates it knows more. So the pack's are listed as those are, in a group of their own.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const [, FOLDER] = decodeURIComponent(new URL(import.meta.url).pathname).match(/\/extensions\/([^/]+)\//);
const TEXTS = new URL("../templates.json", import.meta.url);

/** The group of templates, as ComfyUI's index has them; null if there is anything that it doesn't know. */
async function group(names) {
  const response = await fetch(TEXTS);
  if (!response.ok) return null;
  const texts = await response.json();
  if (!names.every((name) => name in texts)) return null;
  const language = app.extensionManager.setting.get("Comfy.Locale");
  const templates = Object.keys(texts)
    .filter((name) => names.includes(name))
    .map((name) => {
      const [title, description] = texts[name][language] ?? texts[name].en;
      return { name, title, description, mediaType: "image", mediaSubtype: "jpg" };
    });
  return { moduleName: FOLDER, title: "FaceGen", type: "image", templates };
}

function describeTemplates() {
  const { getWorkflowTemplates, getCoreWorkflowTemplates } = api;
  if (!getWorkflowTemplates || !getCoreWorkflowTemplates) return; // they are listed by their names
  let ours = null;
  api.getWorkflowTemplates = async function (...given) {
    const { [FOLDER]: names, ...others } = await getWorkflowTemplates.apply(this, given);
    ours = names ? await group(names).catch(() => null) : null;
    return names && !ours ? { ...others, [FOLDER]: names } : others;
  };
  api.getCoreWorkflowTemplates = async function (...given) {
    const groups = await getCoreWorkflowTemplates.apply(this, given);
    return ours && !groups.some((one) => one.moduleName === FOLDER) ? [...groups, ours] : groups;
  };
}

app.registerExtension({ name: "FaceGen.TemplateList", init: describeTemplates });
