/** The language that the page speaks, and which element says what. */

import { TEXTS } from "./texts.js";

const VALUES = new WeakMap(); // element -> what its text is filled in with
let language = usualLanguage();

/** Make an element say the text of that name, now and in whatever language is chosen later. */
export function tell(element, name, values = {}) {
  element.dataset.text = name;
  VALUES.set(element, values);
  say(element);
}

/** Make an element say somebody else's words, which stay as they are. */
export function quote(element, words) {
  delete element.dataset.text;
  element.textContent = words;
}

/** Speak this language from now on. */
export function speak(chosen = language) {
  language = chosen;
  localStorage.setItem("facegen.language", chosen);
  document.documentElement.lang = chosen;
  document.querySelectorAll("[data-text]").forEach(say);
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", TEXTS[chosen][element.dataset.label]);
  }
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === chosen));
  }
}

function say(element) {
  const values = VALUES.get(element);
  element.textContent = TEXTS[language][element.dataset.text].replace(/\{(\w+)\}/g, (_, key) => values[key]);
}

/** The first language of the browser's that the page speaks. */
function usualLanguage() {
  const wanted = [localStorage.getItem("facegen.language"), ...navigator.languages.map((one) => one.slice(0, 2))];
  return wanted.find((one) => one in TEXTS) ?? "en";
}
