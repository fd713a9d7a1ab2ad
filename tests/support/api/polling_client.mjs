// Asks for a picture as the hosted service's JavaScript SDK does, see official_clients.py: a Bearer header beside the key, any
// answer but 2xx is an exception, and up to ten fetches two seconds apart. Prints the last answer.
const [url, key, body] = process.argv.slice(2);

async function post(address, content) {
  const answer = await fetch(address, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}`, "X-Requested-With": "modelslab-js" },
    body: JSON.stringify({ ...content, key }),
  });
  if (!answer.ok) throw new Error(`HTTP ${answer.status}: ${await answer.text()}`);
  return answer.json();
}

let answer = await post(`${url}/v6/image_editing/face_gen`, JSON.parse(body));
const first = answer.status;
for (let tries = 0; answer.status === "processing" && tries < 10; tries += 1) {
  await new Promise((done) => setTimeout(done, 2000));
  answer = await post(`${url}/v6/image_editing/fetch/${answer.id}`, {});
}
console.log(JSON.stringify({ first, ...answer }));
