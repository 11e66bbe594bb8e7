// One module in a process of its own. The character is shared with other processes, and so is the mutex.
//
//     PACKET_MUTEX_URL=unix:/run/bot/mutex node module.mjs stacker --server 127.0.0.1:7172 --log sends-stacker.jsonl
//
// With --without it takes no turns.

import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Game, between } from "./game.mjs";
import { Mutex } from "./packet_mutex.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    server: { type: "string" },
    log: { type: "string" },
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
    without: { type: "boolean", default: false },
  },
});
const [name] = positionals;
if (!name || !options.server || !options.log) {
  console.error("usage: node module.mjs auto_loot|stacker --server HOST:PORT --log FILE [--seconds N] [--seed N] [--without]");
  process.exit(2);
}
const module = await import(`./modules/${name}.mjs`);

writeFileSync(options.log, "");
const game = await Game.join(options.server, options.seed, "six", options.log);
game.module = name;

const mutex = options.without ? null : await Mutex.connect(process.env.PACKET_MUTEX_URL);
let ended = false;
mutex?.lost.then(() => {
  if (ended) return;
  console.error(`${name}: the connection to the mutex is lost, and the turn with it`);
  process.exit(1);
});

const end = performance.now() + 1000 * Number(options.seconds);
while (performance.now() < end) {
  if (!module.wants(game.state)) {
    await sleep(100);
    continue;
  }
  game.cycle += 1;
  game.failed = false;
  try {
    if (mutex) await mutex.turn(name, (token) => ((game.token = token), module.cycle(game)));
    else await module.cycle(game);
  } catch (why) {
    if (why.kind !== "timeout") throw why;
    console.error(why.message); // nothing was sent; the next cycle asks again
  }
  await sleep(game.failed ? between(100, 300) : 1000 * between(...module.rest));
}
ended = true;
mutex?.close();
game.close();
