/** A request as a command for the shell: `curl`, with the photo read from its file. */

/** `fields` go as they are; `photo` is the file. The key itself isn't written down. */
export function curlOf(url, fields, photo, needsKey) {
  const key = needsKey ? { key: "YOUR_KEY" } : {};
  const body = JSON.stringify({ ...key, ...fields, face_image: `data:${photo.type};base64,` });
  const end = '"}'; // after the photo, which is last
  return [
    `printf '%s' ${quoted(body.slice(0, -end.length))} "$(base64 < ${quoted(photo.name)} | tr -d '\\n')" ${quoted(end)} |`,
    `  curl --request POST --url ${quoted(url)} --header 'Content-Type: application/json' --data @-`,
  ].join("\n");
}

/** Text in single quotes, which a POSIX shell takes as it is. */
function quoted(words) {
  return `'${words.replaceAll("'", "'\\''")}'`;
}
