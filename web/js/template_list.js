// Titles, descriptions and order of the pack's templates in the template browser. Of a pack it knows file names alone, and in
// no order; of ComfyUI's own templates it knows more. So the pack's are listed as those are, in a group of their own.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const [, FOLDER] = decodeURIComponent(new URL(import.meta.url).pathname).match(/\/extensions\/([^/]+)\//);
const TEXTS = new URL("../templates.json", import.meta.url);
const WAIT = 5000; // milliseconds for these texts; ComfyUI's own templates wait with them

/** Titles and descriptions of those of the pack's templates that ComfyUI lists; null if there is one that they don't know. */
async function describe(listing) {
  const names = (await listing)[FOLDER];
  if (!names) return null;
  const response = await fetch(TEXTS, { signal: AbortSignal.timeout(WAIT) });
  if (!response.ok) return null;
  const texts = Object.entries(await response.json()).filter(([name]) => names.includes(name));
  return texts.length === names.length ? texts : null;
}

/** The group of templates, as ComfyUI's index has them. */
function group(texts, language) {
  const templates = texts.map(([name, words]) => {
    const [title, description] = words[language] ?? words.en;
    return { name, title, description, mediaType: "image", mediaSubtype: "jpg" };
  });
  return { moduleName: FOLDER, title: "FaceGen", type: "image", templates };
}

/** Takes the pack's templates from one list into the other, or leaves both as they are. */
function describeTemplates() {
  const { getWorkflowTemplates, getCoreWorkflowTemplates } = api;
  if (!getWorkflowTemplates || !getCoreWorkflowTemplates) return; // they are listed by their names
  // Decided once, for both lists and whichever is asked for first: otherwise templates could be in neither.
  let decided = null;
  const described = (listing) => (decided ??= describe(listing()).catch(() => null));
  api.getWorkflowTemplates = async function (...given) {
    const all = await getWorkflowTemplates.apply(this, given);
    if (!(await described(async () => all))) return all;
    const { [FOLDER]: ours, ...others } = all;
    return others;
  };
  api.getCoreWorkflowTemplates = async function (...given) {
    const groups = await getCoreWorkflowTemplates.apply(this, given);
    const texts = await described(() => getWorkflowTemplates.call(this));
    if (!texts || groups.some((one) => one.moduleName === FOLDER)) return groups;
    return [...groups, group(texts, given[0] ?? app.extensionManager.setting.get("Comfy.Locale"))];
  };
}

app.registerExtension({ name: "FaceGen.TemplateList", init: describeTemplates });
