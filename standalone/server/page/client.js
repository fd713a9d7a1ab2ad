/** The API as the page calls it. */

const POLL_SECONDS = 1; // that a fetch is held open
const PATIENCE = 5; // fetches in a row that may fail before the page gives up

/** What the server says of a request that was cancelled. */
export const CANCELLED = "The request was cancelled.";

/** What the server refuses, in its own words. */
export class ApiError extends Error {}

/** POST to a path of the API; the decoded answer. The server may hold it for so many seconds. Throws ApiError. */
export async function call(path, body, seconds) {
  const headers = { "Content-Type": "application/json", Prefer: `wait=${seconds}` };
  const answer = await fetch(`/api${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  const decoded = await answer.json();
  if (decoded.status === "error" || decoded.status === "failed") throw new ApiError(words(decoded.message));
  return decoded;
}

/** The answer with the pictures; `tell` is called with each answer on the way there. Throws ApiError. */
export async function until(first, running, tell) {
  let answer = first;
  let failures = 0;
  while (answer.status === "processing") {
    tell(answer);
    const path = new URL(answer.fetch_result).pathname.replace(/^\/api/, "");
    try {
      answer = await call(path, { key: running.key }, POLL_SECONDS);
      failures = 0;
    } catch (error) {
      failures += 1;
      if (error instanceof ApiError || failures === PATIENCE) throw error;
      await new Promise((done) => setTimeout(done, 1000 * failures));
    }
  }
  return answer;
}

/** A file as a data URI. */
export function dataUri(file) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => done(reader.result));
    reader.addEventListener("error", () => failed(reader.error));
    reader.readAsDataURL(file);
  });
}

function words(message) {
  return typeof message === "string" ? message : Object.values(message).flat().join(" ");
}
