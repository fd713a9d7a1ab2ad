/** Text to the clipboard. */

/** Whether an element's text could be copied. Where it couldn't, it is left selected. */
export async function copyText(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    return copySelected(element); // over plain http there is no clipboard, and a browser may refuse it
  }
}

function copySelected(element) {
  const selection = getSelection();
  selection.selectAllChildren(element);
  const done = document.execCommand("copy");
  if (done) selection.removeAllRanges();
  return done;
}
