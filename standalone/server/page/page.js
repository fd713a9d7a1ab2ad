/** The page for people: a photo and words in, portraits out, by the same API that programs call. */

import { curlOf } from "./curl.js";
import { ApiError, call, dataUri, until } from "./client.js";
import { by, fieldsOfForm, showFields } from "./form.js";
import { text, usualLanguage } from "./texts.js";

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

function showEndpoint() {
  showFields(options.endpoints[by("endpoint").value].fields);
}

function choosePhoto(file) {
  if (!file) return;
  photo = file;
  by("preview").src = URL.createObjectURL(file);
  by("preview").hidden = false;
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

/** The command has the seed that was used, so that it makes the same picture. */
function showCurl(path, fields, sent, { seed }) {
  by("curl").textContent = curlOf(`${location.origin}/api${path}`, { ...fields, seed }, sent, options.needs_key);
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
  const sent = photo;
  running = { path, key, stopped: false };
  showWork(true);
  showState("sending");
  try {
    const first = await call(path, { ...fields, key, face_image: await dataUri(sent) }, 0);
    running.id = first.id;
    const answer = await until(first, running, ({ meta, eta }) =>
      showState(meta.progress ? "working" : "waiting", { seconds: Math.round(eta) }, meta.progress),
    );
    showAnswer(answer);
    showCurl(path, fields, sent, answer.meta);
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
  showEndpoint();
  document.body.dataset.ready = "yes";
}

for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => speak(button.dataset.language));
}
by("endpoint").addEventListener("change", showEndpoint);
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
