// What a bot has already: a connection to the game, and the state that the server sent last. Nothing here keeps two modules
// apart. The messages are described in crates/practice/src/wire.rs.

import { appendFileSync } from "node:fs";
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export const [FISH, MEAT, GOLD, BOOT] = [3578, 3577, 3031, 3552];
export const [BACKPACK, CORPSE] = [0, 1]; // windows

/** A slot of an open container. */
export const slot = (window, number) => ({ x: 0xffff, y: 0x40 + window, z: number, stack: number });
/** No slot in particular: the item goes to the front. */
export const FRONT = slot(BACKPACK, 0xff);
export const GROUND = { x: 32097, y: 32219, z: 7, stack: 0 };

export class Game {
  #socket;
  #input = Buffer.alloc(0);
  #answers = []; // the promises of frames without an answer, oldest first: the server answers in order
  #log;
  #sent = 0;
  #ended = null; // the reason, once the connection has failed
  /** The module, cycle and turn of the actions, for the log. */
  module = "";
  cycle = 0;
  token = null;
  /** Whether an action of this cycle was refused. */
  failed = false;

  /** Joins the character of this name, which other processes play too. Each action is written to `log` before it is sent. */
  static async join(address, seed, name, log) {
    const game = new Game();
    game.#log = log;
    const [host, port] = address.split(":");
    game.#socket = connect({ host, port, noDelay: true });
    await once(game.#socket, "connect");
    game.#socket.on("data", (bytes) => game.#read(bytes));
    game.#socket.on("error", (why) => game.#fail(why));
    game.#socket.on("close", () => game.#fail(new Error("the practice server closed the connection")));
    const head = Buffer.alloc(13);
    head.writeUInt8(0x0b);
    head.writeUInt16LE(772, 1);
    head.writeBigUInt64LE(BigInt(seed), 3);
    head.writeUInt16LE(name.length, 11);
    await game.#ask(Buffer.concat([head, Buffer.from(name)]));
    await game.look();
    return game;
  }

  close() {
    this.#socket.end();
  }

  /** Asks for the present state: others may have changed it since the server last sent it. */
  async look() {
    await this.#ask(Buffer.from([0x1e]));
    return this.state;
  }

  /** Moves an item: pauses, sends the frame, waits for the verdict and then for the time that the server requires between two actions. */
  async moveItem(from, item, to, count = 1) {
    const frame = Buffer.alloc(15);
    frame.writeUInt8(0x78);
    this.#place(frame, 1, from);
    frame.writeUInt16LE(item, 6);
    frame.writeUInt8(from.stack, 8);
    this.#place(frame, 9, to);
    frame.writeUInt8(count, 14);
    await sleep(between(40, 200));
    const { connection, module, cycle, token } = this;
    const line = { t: performance.now() / 1000, connection, n: this.#sent++, module, cycle, token };
    appendFileSync(this.#log, JSON.stringify(line) + "\n");
    const verdict = await this.#ask(frame);
    this.failed ||= verdict !== 0;
    await sleep(205);
  }

  #place(frame, at, { x, y, z }) {
    frame.writeUInt16LE(x, at);
    frame.writeUInt16LE(y, at + 2);
    frame.writeUInt8(z, at + 4);
  }

  #ask(frame) {
    if (this.#ended) return Promise.reject(this.#ended);
    const length = Buffer.alloc(2);
    length.writeUInt16LE(frame.length);
    this.#socket.write(Buffer.concat([length, frame]));
    return new Promise((resolve, reject) => this.#answers.push({ resolve, reject }));
  }

  #fail(why) {
    this.#ended ??= why;
    for (const { reject } of this.#answers.splice(0)) reject(why);
  }

  #read(bytes) {
    this.#input = Buffer.concat([this.#input, bytes]);
    while (this.#input.length >= 2 && this.#input.length >= 2 + this.#input.readUInt16LE()) {
      const end = 2 + this.#input.readUInt16LE();
      this.#take(this.#input.subarray(2, end));
      this.#input = this.#input.subarray(end);
    }
  }

  #take(message) {
    switch (message[0]) {
      case 0x0b: // verdict
        return this.#answers.shift().resolve(message[13]);
      case 0x0c: // state
        return (this.state = readState(message));
      case 0x0d: // error
        return this.#fail(new Error(message.toString("latin1", 3)));
      case 0x0e: // joined
        this.connection = message.readUInt32LE(9);
        return this.#answers.shift().resolve();
      case 0x1e: // pong
        return this.#answers.shift().resolve();
    }
  }
}

/** Returns the backpack and the corpse. An item has a kind and a count. */
function readState(message) {
  let at = 10;
  const items = () => {
    const list = Array.from({ length: message[at] }, (_, n) => ({
      kind: message.readUInt16LE(at + 1 + 3 * n),
      count: message[at + 3 + 3 * n],
    }));
    at += 1 + 3 * list.length;
    return list;
  };
  const backpack = items();
  if (message[at] === 0) return { backpack, corpse: null };
  const leftMs = message.readUInt32LE(at + 1);
  at += 5;
  return { backpack, corpse: { leftMs, items: items() } };
}

/** Returns a random number from `low` to `high`. */
export const between = (low, high) => low + Math.random() * (high - low);
