// Interprets events as things to draw. It needs no document. spans.rs does the same for text.
//
// A thing is {kind, module, from, to, open, outcome, facts, name, tone}: `kind` is wait, hold, nested, pass, handover, cycle,
// action or mark; `facts` are the events (or the action) that it was made from; a mark or an action has a `name` and a `tone`,
// which is "bad", "warn" or nothing. Times count from the start of the run.

// html.rs writes EVENTS from the arbiter's tables.
const TROUBLES = new Set(EVENTS.troubles), END_HOLD = new Set(EVENTS.endHold), END_WAIT = new Set(EVENTS.endWait);
// Bars show these. Every other event has a mark, even if this script does not know it: a server may be newer than the page.
const IN_BARS = new Set(["requested", "granted", "nested", "released"]);
// What is a warning: it may be nobody's fault. All other troubles are bad, and so are these actions.
const WARN = new Set(["timed_out", "overrun", "starving", "act_refused"]);
const BAD_ACTIONS = new Set(["wrong_item", "interleaved"]);
const toneOf = (name) =>
  WARN.has(name) ? "warn" : TROUBLES.has(name) || BAD_ACTIONS.has(name) ? "bad" : undefined;

// A wait of no length is not drawn: the request was granted at once. Neither is a cycle of one action.
const isVisible = ({ kind, open, from, to }) => open || to > from || (kind !== "wait" && kind !== "cycle");

class RunModel {
  // `groupOf` returns a module's group. `start` is the time that becomes zero; if it is null, the first event's time does.
  constructor(groupOf, start) {
    this.groupOf = groupOf;
    this.start = start;
    // Everything before this was forgotten.
    this.from = 0;
    this.end = 0;
    // The time of the newest event.
    this.newest = 0;
    this.things = [];
    this.dropped = 0;
    this.last = null;
    this.waits = new Map();   // by request
    this.holds = new Map();   // by token
    this.passes = new Map();  // by request
    this.nested = new Map();  // by token, a list
    this.cycles = new Map();  // by module and cycle
  }

  add(kind, event, from, to) {
    const thing = { kind, module: event.module, from, to, open: false, outcome: null, facts: [event] };
    this.things.push(thing);
    return thing;
  }

  begin(kind, event, t) {
    const thing = this.add(kind, event, t, t);
    thing.open = true;
    return thing;
  }

  // Ends an open thing. If the log does not have its start, the whole thing is added.
  finish(thing, kind, event, from, t) {
    if (thing) thing.facts.push(event);
    else thing = this.add(kind, event, from, t);
    thing.to = t;
    thing.open = false;
    thing.outcome = event.event;
  }

  addMark(event, name, t) {
    const thing = this.add("mark", event, t, t);
    thing.name = name;
    thing.tone = toneOf(name);
  }

  push(event) {
    if (!event || typeof event.event !== "string" || !Number.isFinite(event.t)) return false;
    this.start ??= event.t;
    const t = event.t - this.start, kind = event.event, pass = event.pass === true;
    const request = String(event.request), token = String(event.token);
    const ago = (seconds) => Math.min(t, Math.max(Math.min(0, t), t - (Number(seconds) || 0)));
    this.newest = Math.max(this.newest, t);
    this.end = Math.max(this.end, t);
    if (!IN_BARS.has(kind)) this.addMark(event, kind, t);
    if (typeof event.module !== "string") return true;

    if (kind === "requested") {
      this.waits.set(request, this.begin("wait", event, t));
    } else if (kind === "granted") {
      this.endWait(request, event, t, ago(event.waited));
      if (pass) {
        this.passes.set(request, this.begin("pass", event, t));
      } else {
        this.handover(event, t, ago(event.waited));
        this.holds.set(token, this.begin("hold", event, t));
      }
    } else if (kind === "nested") {
      if (this.waits.has(request)) this.endWait(request, event, t, t);
      if (!this.nested.has(token)) this.nested.set(token, []);
      this.nested.get(token).push(this.begin("nested", event, t));
    } else if (END_HOLD.has(kind)) {
      if (pass || event.token === null || event.token === undefined) {
        this.finish(this.passes.get(request), "pass", event, ago(event.held), t);
        this.passes.delete(request);
      } else if (event.depth > 0) {
        const inner = this.nested.get(token) ?? [];
        const own = inner.findLastIndex((thing) => String(thing.facts[0].request) === request);
        // Nested turns may end in any order. If the outermost hold ends first, its bar goes on: the turn does.
        if (own >= 0) this.finish(inner.splice(own, 1)[0], "nested", event, t, t);
      } else {
        for (const inner of this.nested.get(token) ?? []) this.finish(inner, "nested", event, t, t);
        this.nested.delete(token);
        this.finish(this.holds.get(token), "hold", event, ago(event.held), t);
        this.holds.delete(token);
        const lost = kind === "abandoned" || kind === "revoked";
        // Nothing was sent in a declined turn, so the delay still counts from the turn before it.
        if (kind !== "declined") this.last = { module: event.module, t, lost };
      }
    } else if (END_WAIT.has(kind)) {
      this.endWait(request, event, t, ago(event.waited));
    }
    return true;
  }

  endWait(request, event, t, from) {
    this.finish(this.waits.get(request), "wait", event, from, t);
    this.waits.delete(request);
  }

  // Adds the handover from one group to another, if somebody waited for it. After an abandoned or revoked turn its own group
  // waits too.
  handover(event, t, waitedSince) {
    const last = this.last;
    if (!last || last.t >= t || waitedSince >= t) return;
    if (!last.lost && this.groupOf(last.module) === this.groupOf(event.module)) return;
    const thing = this.add("handover", event, last.t, t);
    thing.after = last.module;
  }

  pushAction(action) {
    if (!action || typeof action.module !== "string" || !Number.isFinite(action.t)) return false;
    this.start ??= action.t;
    const t = action.t - this.start;
    this.end = Math.max(this.end, t);
    if (action.cycle !== null && action.cycle !== undefined) {
      const key = `${action.cycle} ${action.module}`;
      const cycle = this.cycles.get(key);
      if (cycle) cycle.to = t;
      else this.cycles.set(key, this.add("cycle", { module: action.module, cycle: action.cycle }, t, t));
    }
    const thing = this.add("action", action, t, t);
    const verdict = action.verdict;
    thing.name = verdict === "wrong_item" ? verdict
      : verdict !== "ok" ? "act_refused" : action.interleaved ? "interleaved" : "ok";
    thing.tone = toneOf(thing.name);
    return true;
  }

  // Makes everything that is open last until `t`. No later event is taken for its end.
  forgetOpen(t) {
    for (const thing of this.things) {
      if (thing.open) { thing.to = t; thing.open = false; }
    }
    for (const map of [this.waits, this.holds, this.passes, this.nested]) map.clear();
    this.last = null;
  }

  // Forgets the oldest quarter if there are more than `most` things, because a live page may be open for weeks.
  bound(most) {
    if (this.things.length <= most) return;
    const gone = this.things.splice(0, Math.floor(most / 4));
    const first = this.things.find((thing) => !thing.open);
    if (first) this.from = Math.max(this.from, first.from);
    this.things.unshift(...gone.filter((thing) => thing.open));
    this.dropped += gone.filter((thing) => !thing.open).length;
    this.cycles.clear();
  }

  count(kind) {
    return this.things.filter((thing) => thing.kind === kind).length;
  }
}
