// Takes turns over the raw protocol: docs/PROTOCOL.md.
//
//     node fisher.mjs SOCKET MODULE TURNS LOG
//
// Inside each turn it writes a line at its begin and one at its end to LOG, so that others can judge whether turns overlap.

import { connect } from "node:net";
import { appendFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const [socket, module, turns, log] = process.argv.slice(2);
const connection = connect(socket);
const waiting = new Map();
let nextId = 1;

/** Sends a frame; resolves with its answer, once it is more than that it waits. */
function call(op, fields = {}) {
  const id = nextId++;
  connection.write(JSON.stringify({ id, op, ...fields }) + "\n");
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

createInterface({ input: connection }).on("line", (line) => {
  const frame = JSON.parse(line);
  if (frame.waiting || !waiting.has(frame.id)) return; // notices have no id
  const { resolve, reject } = waiting.get(frame.id);
  waiting.delete(frame.id);
  if (frame.error) reject(new Error(`${frame.error}: ${frame.message}`));
  else resolve(frame);
});

// The closed connection is the end of every turn: whoever acts on would act without one.
connection.on("close", () => {
  for (const { reject } of waiting.values()) reject(new Error("lost: the connection is closed"));
});

await call("hello", { version: 1 });
for (let turn = 0; turn < Number(turns); turn++) {
  const { request, token } = await call("acquire", { module });
  try {
    appendFileSync(log, `begin ${token}\n`);
    await sleep(1);
    appendFileSync(log, `end ${token}\n`);
  } finally {
    await call("release", { request });
  }
}
connection.end();
