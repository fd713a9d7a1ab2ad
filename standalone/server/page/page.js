/** The page for people: a photo and words in, portraits out, by the same API that programs call. */

import { ApiError, CANCELLED, call, dataUri, until } from "./client.js";
import { copyText } from "./copy.js";
import { curlOf } from "./curl.js";
import { by, fieldsOfForm, showFields } from "./form.js";
import { quote, speak, tell } from "./language.js";

let options = null;
let photo = null;
let running = null; // { id, path, stopped } of the request in work

function showEndpoint() {
  showFields(options.endpoints[by("endpoint").value].fields);
}

function choosePhoto(file) {
  if (!file) return;
  photo = file;
  by("chosen").textContent = file.name;
  by("chosen").hidden = false;
  URL.revokeObjectURL(by("preview").src);
  by("preview").src = URL.createObjectURL(file);
  showPreview(true);
}

/** The server has the last word on a file: it may be of a kind that it reads and this browser doesn't. */
function showPreview(isPicture) {
  by("preview").hidden = !isPicture;
  by("not_shown").hidden = isPicture;
}

function hideProblem() {
  by("problem").hidden = true;
  quote(by("problem"), "");
}

function showProblem(name) {
  tell(by("problem"), name);
  by("problem").hidden = false;
}

function showError(error) {
  if (!(error instanceof ApiError)) return showProblem("offline");
  if (running.stopped && error.message === CANCELLED) return showProblem("cancelled");
  quote(by("problem"), error.message);
  by("problem").hidden = false;
}

function showState(name, values, progress) {
  tell(by("state"), name, values);
  if (progress === undefined) by("progress").removeAttribute("value");
  else by("progress").value = progress;
}

function showWork(isRunning) {
  by("work").hidden = !isRunning;
  by("cancel").hidden = !isRunning;
  by("go").disabled = isRunning;
}

/** Nothing stays of the request before: it would look as if it belonged to the next one, or to its error. */
function clearAnswer() {
  by("tip").hidden = true;
  by("portraits").replaceChildren();
  by("again").hidden = true;
  tell(by("copy"), "copy");
}

function showAnswer(answer) {
  by("tip").textContent = answer.tip ?? "";
  by("tip").hidden = !answer.tip;
  by("portraits").replaceChildren(...answer.output.map((url, number) => portrait(answer, url, number)));
}

function portrait({ id, generationTime, meta }, url, number) {
  const figure = document.createElement("figure");
  const image = Object.assign(new Image(), { src: new URL(url).pathname, alt: "" });
  const caption = document.createElement("figcaption");
  const [like, made] = [document.createElement("span"), document.createElement("span")];
  const percent = meta.likeness?.[number] ?? null;
  if (percent === null) tell(like, "no_likeness");
  else tell(like, "likeness", { percent, pack: meta.files.face_pack });
  tell(made, "made", { id, seed: meta.seed, seconds: generationTime });
  caption.append(like, document.createElement("br"), made);
  figure.append(image, caption);
  return figure;
}

/** The command has the seed that was used, so that it makes the same picture. */
function showCurl(path, fields, sent, { seed }) {
  by("curl").textContent = curlOf(`${location.origin}/api${path}`, { ...fields, seed }, sent, options.needs_key);
  by("again").hidden = false;
}

async function generate(event) {
  event.preventDefault();
  hideProblem();
  if (!photo) return showProblem("no_photo");
  if (!by("prompt").value.trim()) return showProblem("no_prompt");
  const { path } = options.endpoints[by("endpoint").value];
  const fields = fieldsOfForm();
  const key = by("key").value;
  const sent = photo;
  running = { path, key, stopped: false };
  clearAnswer();
  showWork(true);
  showState("sending");
  try {
    const first = await call(path, { ...fields, key, face_image: await dataUri(sent) }, 0);
    running.id = first.id;
    if (running.stopped) await cancel(); // it was pressed while the photo was on its way
    const answer = await until(first, running, ({ meta, eta }) =>
      showState(meta.progress ? "working" : "waiting", { seconds: Math.round(eta) }, meta.progress),
    );
    showAnswer(answer);
    showCurl(path, fields, sent, answer.meta);
  } catch (error) {
    showError(error);
  } finally {
    running = null;
    showWork(false);
  }
}

async function cancel() {
  if (!running) return;
  running.stopped = true;
  if (running.id) await call(`/v6/image_editing/cancel/${running.id}`, { key: running.key }, 0).catch(() => {});
}

async function copy() {
  tell(by("copy"), (await copyText(by("curl"))) ? "copied" : "selected");
}

async function start() {
  speak();
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
by("preview").addEventListener("error", () => showPreview(false));
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
start().catch(() => showProblem("offline"));
