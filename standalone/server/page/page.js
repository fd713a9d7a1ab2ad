/** The page for people: a photo and words in, portraits out, by the same API that programs call. */

import { curlOf } from "./curl.js";
import { ApiError, call, dataUri, until } from "./client.js";
import { text, usualLanguage } from "./texts.js";

const by = (id) => document.getElementById(id);
const NUMBERS = ["s_scale", "samples", "num_inference_steps", "guidance_scale", "seed", "width", "height"];
let language = usualLanguage();
let options = null;
let photo = null;
let running = null; // { id, path, stopped } of the request in work

function say(name, values) {
  return text(language, name, values);
}

function speak(chosen) {
  language = chosen;
  localStorage.setItem("facegen.language", chosen);
  document.documentElement.lang = chosen;
  document.title = say("title");
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = say(element.dataset.text);
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === chosen));
  }
}

/** Show the fields that the chosen endpoint has, with its ranges and defaults. */
function fillForm() {
  const { fields } = options.endpoints[by("endpoint").value];
  for (const row of document.querySelectorAll("[data-field]")) row.hidden = !(row.dataset.field in fields);
  for (const [name, rule] of Object.entries(fields)) {
    const input = by(name);
    if (rule.choices) input.replaceChildren(...rule.choices.map((choice) => new Option(choice)));
    if (rule.min !== undefined && name !== "seed") Object.assign(input, { min: rule.min, max: rule.max });
    input.value = rule.default ?? "";
  }
  showScale();
}

function showScale() {
  by("s_scale_shown").textContent = by("s_scale").value;
}

function choosePhoto(file) {
  if (!file) return;
  photo = file;
  by("preview").src = URL.createObjectURL(file);
  by("preview").hidden = false;
}

/** The request's fields as they are set, without photo and key. Empty ones are left out. */
function fieldsOfForm() {
  const known = options.endpoints[by("endpoint").value].fields;
  const names = [...Object.keys(known), "width", "height"];
  const given = names.map((name) => [name, by(name).value.trim()]).filter(([, value]) => value !== "");
  return Object.fromEntries(given.map(([name, value]) => [name, NUMBERS.includes(name) ? Number(value) : value]));
}

function showProblem(message) {
  by("problem").textContent = message;
  by("problem").hidden = !message;
}

function showState(name, values, progress) {
  by("state").textContent = say(name, values);
  if (progress === undefined) by("progress").removeAttribute("value");
  else by("progress").value = progress;
}

function showWork(isRunning) {
  by("work").hidden = !isRunning;
  by("cancel").hidden = !isRunning;
  by("go").disabled = isRunning;
}

function showAnswer(answer) {
  by("tip").textContent = answer.tip ?? "";
  by("tip").hidden = !answer.tip;
  const { likeness = [], seed, files } = answer.meta;
  by("portraits").replaceChildren(
    ...answer.output.map((url, number) => {
      const figure = document.createElement("figure");
      const image = Object.assign(new Image(), { src: new URL(url).pathname, alt: "" });
      const caption = document.createElement("figcaption");
      const percent = likeness[number];
      const like = percent === null || percent === undefined ? say("no_likeness") : say("likeness", { percent, pack: files.face_pack });
      const values = { id: answer.id, seed, seconds: answer.generationTime };
      caption.append(like, document.createElement("br"), say("made", values));
      figure.append(image, caption);
      return figure;
    }),
  );
}

function showCurl(path, fields) {
  by("curl").textContent = curlOf(`${location.origin}/api${path}`, fields, photo, options.needs_key);
  by("again").hidden = false;
}

async function generate(event) {
  event.preventDefault();
  showProblem("");
  if (!photo) return showProblem(say("no_photo"));
  if (!by("prompt").value.trim()) return showProblem(say("no_prompt"));
  const { path } = options.endpoints[by("endpoint").value];
  const fields = fieldsOfForm();
  const key = by("key").value;
  running = { path, key, stopped: false };
  showWork(true);
  showState("sending");
  try {
    const first = await call(path, { ...fields, key, face_image: await dataUri(photo) }, 0);
    running.id = first.id;
    const answer = await until(first, running, ({ meta, eta }) =>
      showState(meta.progress ? "working" : "waiting", { seconds: Math.round(eta) }, meta.progress),
    );
    showAnswer(answer);
    showCurl(path, fields);
  } catch (error) {
    showProblem(error instanceof ApiError ? error.message : say("offline"));
  } finally {
    running = null;
    showWork(false);
  }
}

async function cancel() {
  if (!running?.id) return;
  running.stopped = true;
  await call(`/v6/image_editing/cancel/${running.id}`, { key: running.key }, 0).catch(() => {});
}

async function copy() {
  await navigator.clipboard.writeText(by("curl").textContent);
  by("copy").textContent = say("copied");
}

async function start() {
  speak(language);
  options = await (await fetch("/page/options.json")).json();
  by("endpoint").replaceChildren(...Object.keys(options.endpoints).map((name) => new Option(name)));
  by("key_row").hidden = !options.needs_key;
  fillForm();
  document.body.dataset.ready = "yes";
}

for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => speak(button.dataset.language));
}
by("endpoint").addEventListener("change", fillForm);
by("s_scale").addEventListener("input", showScale);
by("photo").addEventListener("change", () => choosePhoto(by("photo").files[0]));
by("drop").addEventListener("dragover", (event) => {
  event.preventDefault();
  by("drop").classList.add("over");
});
by("drop").addEventListener("dragleave", () => by("drop").classList.remove("over"));
by("drop").addEventListener("drop", (event) => {
  event.preventDefault();
  by("drop").classList.remove("over");
  choosePhoto(event.dataTransfer.files[0]);
});
by("form").addEventListener("submit", generate);
by("cancel").addEventListener("click", cancel);
by("copy").addEventListener("click", copy);
start().catch(() => showProblem(say("offline")));
