// Takes turns over the raw protocol.
//
//     node fisher.mjs SOCKET MODULE TURNS LOG
//
// At the beginning and the end of each turn it writes a line to LOG, which shows whether turns overlap.

import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Mutex } from "./packet_mutex.mjs";

const [socket, module, turns, log] = process.argv.slice(2);
const mutex = await Mutex.connect(socket);
for (let turn = 0; turn < Number(turns); turn++) {
  await mutex.turn(module, async (token) => {
    appendFileSync(log, `begin ${token}\n`);
    await sleep(1);
    appendFileSync(log, `end ${token}\n`);
  });
}
mutex.close();
