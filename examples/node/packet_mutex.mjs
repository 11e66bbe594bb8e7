// A client of the mutex over its raw protocol: docs/PROTOCOL.md. It uses Unix sockets. Over TCP it would also have to send
// heartbeats.

import { once } from "node:events";
import { connect } from "node:net";
import { createInterface } from "node:readline";

export class Mutex {
  #connection;
  #waiting = new Map();
  #nextId = 1;
  #ended = null; // the reason, once the connection has failed

  /** Connects to `unix:/path`, or to the path alone, and says hello. */
  static async connect(url) {
    const mutex = new Mutex();
    mutex.#connection = connect(url.replace(/^unix:/, ""));
    await once(mutex.#connection, "connect");
    createInterface({ input: mutex.#connection }).on("line", (line) => mutex.#read(JSON.parse(line)));
    // When the connection closes, every turn is lost. A caller that acts on would act without one.
    mutex.lost = new Promise((resolve) => mutex.#connection.on("close", resolve));
    mutex.lost.then(() => mutex.#failAll(new Error("lost: the connection to the mutex is closed")));
    mutex.#connection.on("error", (why) => mutex.#failAll(why)); // a close follows
    await mutex.#call("hello", { version: 1 });
    return mutex;
  }

  /**
   * Waits for a turn of the module, does the work inside it and ends it, however the work ends. The work is called with the
   * turn's token. Work that returns `false` has sent nothing: the turn is declined, and no delay follows it.
   */
  async turn(module, work) {
    const { request, token } = await this.#call("acquire", { module });
    let how = "panicked";
    try {
      how = (await work(token)) === false ? "declined" : "released";
    } finally {
      await this.#call("release", { request, how });
    }
  }

  close() {
    this.#connection.end();
  }

  /** Sends a frame and resolves with its final answer. An answer that it waits is not final. */
  #call(op, fields = {}) {
    if (this.#ended) return Promise.reject(this.#ended);
    const id = this.#nextId++;
    this.#connection.write(JSON.stringify({ id, op, ...fields }) + "\n");
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  #read(frame) {
    if (frame.waiting || !this.#waiting.has(frame.id)) return; // notices have no id
    const { resolve, reject } = this.#waiting.get(frame.id);
    this.#waiting.delete(frame.id);
    if (frame.error) reject(Object.assign(new Error(`${frame.error}: ${frame.message}`), { kind: frame.error }));
    else resolve(frame);
  }

  #failAll(why) {
    this.#ended ??= why;
    for (const { reject } of this.#waiting.values()) reject(why);
    this.#waiting.clear();
  }
}
