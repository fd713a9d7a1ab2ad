/** The fields of the form: those that the chosen endpoint takes, and what the user set in them. */

export const by = (id) => document.getElementById(id);

const set = new Map(); // name -> what the user set, also of fields that the endpoint lacks or where it is out of range
let rules = {}; // of the endpoint's fields

/** Show these fields with their ranges. What the user set stays where it is within them; all else is as the rules have it. */
export function showFields(fields) {
  rules = fields;
  for (const row of document.querySelectorAll("[data-field]")) row.hidden = !(row.dataset.field in fields);
  for (const [name, rule] of Object.entries(fields)) {
    const input = by(name);
    if (rule.choices) input.replaceChildren(...rule.choices.map((choice) => new Option(choice)));
    // A seed's largest is none that a script can write exactly.
    if (rule.min !== undefined && name !== "seed") Object.assign(input, { min: rule.min, max: rule.max });
    if (rule.step) input.step = rule.step;
    input.value = set.has(name) && fits(set.get(name), rule) ? set.get(name) : (rule.default ?? "");
  }
  showScale();
}

/** Whether it is allowed there. Nothing always is: the server has a default then. */
function fits(value, { choices, min, max }) {
  if (choices) return choices.includes(value);
  return value === "" || min === undefined || (min <= Number(value) && Number(value) <= max);
}

/** The request's fields as they are set, without photo and key. Empty ones are left out. */
export function fieldsOfForm() {
  const given = Object.keys(rules).map((name) => [name, by(name).value.trim()]);
  const filled = given.filter(([, value]) => value !== "");
  return Object.fromEntries(filled.map(([name, value]) => [name, rules[name].min === undefined ? value : Number(value)]));
}

function showScale() {
  by("s_scale_shown").textContent = by("s_scale").value;
}

by("form").addEventListener("input", ({ target }) => {
  if (target.id in rules) set.set(target.id, target.value);
  showScale();
});
