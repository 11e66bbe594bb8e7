"use strict";
// The panels around the timeline, from what the server sends: `hello`, `events`, `status`.

(() => {
  const $ = (id) => document.getElementById(id);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  // An event arrives a little after it happened. What is shown as "now" lags behind, so that no bar has to be cut back.
  const LAG = 0.15;
  // The server gives a sign of life every four seconds.
  const SILENCE = 10;
  const WAITS = 40, MINUTE = 60, MOST_ROWS = 40;

  const chosen = new URLSearchParams(location.search).get("mutex");
  function path(name, more = {}) {
    const query = new URLSearchParams(more);
    if (chosen !== null) query.set("mutex", chosen);
    return query.size ? `${name}?${query}` : name;
  }

  // ---- time ----

  const here = () => performance.now() / 1000;
  // By how much the mutex's clock is ahead of this one.
  let offset = null;
  function syncClock(t) {
    const fresh = t - here();
    const jumped = offset === null || Math.abs(fresh - offset) > 1;
    // The quickest message is the most exact. The offset shrinks slowly, in case the clocks drift.
    offset = jumped ? fresh : Math.max(fresh, offset - 0.001);
    if (jumped) timeline.wall(Date.now() / 1000 - here() - offset);
  }
  function lasts(s, digits = 2) {
    if (s < 0) s = 0;
    if (s < 60) return `${s.toFixed(s < 10 ? digits : 1)} s`;
    const two = (n) => String(Math.floor(n)).padStart(2, "0");
    return s < 3600 ? `${Math.floor(s / 60)} min ${two(s % 60)} s` : `${Math.floor(s / 3600)} h ${two((s / 60) % 60)} min`;
  }
  const short = (s) => (s === 0 ? "0" : s < 0.0995 ? `${(s * 1000).toFixed(s < 0.00995 ? 1 : 0)} ms` : lasts(s));
  const whole = (n) => n.toLocaleString("en");

  // ---- what the server has sent ----

  let facts = { lanes: [], modes: [], steering: false }, status = null, statusAt = 0, missed = 0;
  const waits = new Map();   // by module, the last ones
  const since = () => here() - statusAt;
  const priorityOf = (module) => facts.lanes.find((lane) => lane.module === module)?.priority;

  const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  function dot(parent, module) {
    const node = make("i", parent);
    node.style.background = timeline.colour(module);
    return node;
  }

  // ---- who holds, and who is next ----

  function showHolder() {
    const { holder, next, last } = status, box = $("holder"), time = $("holder-time");
    const state = holder ? "held" : next && next.in > 0 ? "handover" : "free";
    box.dataset.state = state;
    const of = holder?.module ?? (state === "handover" ? next.module : null);
    box.style.setProperty("--tint", of ? timeline.colour(of) : "var(--band)");
    const parts = [];
    if (holder) {
      const { hold, turns } = status.modules[holder.module] ?? {};
      set($("holder-over"), "holds the mutex");
      set($("holder-name"), holder.module);
      parts.push(`token ${holder.token}`);
      if (holder.depth > 1) parts.push(`${holder.depth} turns deep`);
      if (turns > 2 && hold) parts.push(`usually ${short(hold.p50)}, longest ${short(hold.max)}`);
    } else if (state === "handover") {
      set($("holder-over"), last ? `handover from ${last.module} to` : "the first turn begins soon:");
      set($("holder-name"), next.module);
    } else {
      set($("holder-over"), "nobody holds");
      set($("holder-name"), status.closed ? "Closed" : "Free");
      if (last) parts.push(`the last turn was ${last.module}'s`);
    }
    set($("holder-facts"), parts.join(" · "));
    time.hidden = state === "free";
    showNext(holder, next);
    showSigns();
  }
  function showNext(holder, next) {
    const line = $("next"), key = holder && next ? `${next.module} ${next.in > 0}` : "";
    if (line.dataset.key === key) return;
    line.dataset.key = key;
    line.replaceChildren();
    if (!key) return;
    line.append("Next: ");
    dot(line, next.module);
    make("b", line, next.module);
    line.append(next.in > 0 ? ", after the handover" : ", as soon as the turn ends");
  }
  function showSigns() {
    const signs = status.paused.map((pause) => ({
      text: `Paused: ${pause.reason}, ${pause.below === "urgent" ? "all but urgent" : `all below priority ${pause.below}`}` +
        (pause.left === null ? "" : `, ${lasts(pause.left, 0)} more`),
      reason: pause.reason,
    }));
    if (status.abandoned) signs.push({ text: "A turn was abandoned or revoked, and nobody has acknowledged it.", ill: true });
    if (status.closed) signs.push({ text: "Closed: no more requests are taken.", ill: true });
    const list = $("signs");
    while (list.children.length > signs.length) list.lastChild.remove();
    signs.forEach((sign, n) => {
      let item = list.children[n];
      if (!item) {
        item = make("li", list);
        make("span", item);
        const button = make("button", item, "Resume");
        button.type = "button";
        button.className = "steers";
        button.addEventListener("click", () => steer({ op: "resume", reason: item.dataset.reason }, `Resumed: ${item.dataset.reason}`));
      }
      item.classList.toggle("ill", sign.ill === true);
      item.dataset.reason = sign.reason ?? "";
      item.lastChild.hidden = sign.reason === undefined;
      set(item.firstChild, sign.text);
    });
  }

  // ---- who waits ----

  const rows = new Map();   // by request
  function showQueue() {
    const list = $("queue"), shown = status.waiters.slice(0, MOST_ROWS), here = new Set(shown.map((w) => w.request));
    for (const [request, row] of rows) {
      if (!here.has(request)) { row.item.remove(); rows.delete(request); }
    }
    shown.forEach((waiter, n) => {
      let row = rows.get(waiter.request);
      if (!row) rows.set(waiter.request, row = queueRow(waiter));
      if (list.children[n] !== row.item) list.insertBefore(row.item, list.children[n] ?? null);
      row.waiter = waiter;
      const aged = waiter.effective - waiter.priority;
      set(row.priority, waiter.urgent ? "urgent" : aged > 0.05 ? `${waiter.priority} + ${aged.toFixed(1)}` : `${waiter.priority}`);
      row.priority.title = waiter.urgent ? `urgent; priority ${waiter.priority}` : aged > 0.05 ? `priority ${waiter.priority}, plus ${aged.toFixed(1)} for the time it has waited` : "priority";
      row.priority.classList.toggle("ill", waiter.urgent);
      const why = waiter.why ? `waits ${waiter.why}` : "waits";
      set(row.why, why);
      row.why.title = why;
    });
    const all = status.waiters.length;
    set($("queue-count"), all > MOST_ROWS ? `${whole(all)}, the first ${MOST_ROWS} of them:` : all ? String(all) : "");
    $("queue-empty").hidden = status.waiters.length > 0;
    list.tabIndex = status.waiters.length ? 0 : -1;
  }
  function queueRow(waiter) {
    const item = make("li"), name = make("span", item);
    name.className = "name";
    item.style.setProperty("--tint", timeline.colour(waiter.module));
    dot(name, waiter.module);
    make("b", name, waiter.module);
    const part = (parent, kind) => { const node = make("span", parent); node.className = kind; return node; };
    const priority = part(name, "chip"), waited = part(item, "waited"), why = part(item, "why"), deadline = part(item, "deadline"), bar = part(item, "bar");
    return { item, priority, waited, why, deadline, bar };
  }

  // Updates what changes by itself between two statuses.
  function tick() {
    if (!status) return;
    const past = since(), { holder, next, last } = status, meter = $("holder-meter");
    let share = 0;
    if (holder) {
      const held = holder.held + past, longest = status.modules[holder.module]?.hold.max ?? 0;
      set($("holder-time"), lasts(held));
      share = longest > 0 ? Math.min(1, held / longest) : 0;
    } else if (next && next.in > 0) {
      const left = Math.max(0, next.in - past), all = next.in + (last?.ended ?? 0);
      set($("holder-time"), `in ${lasts(left)}`);
      share = all > 0 ? 1 - left / all : 0;
    }
    meter.style.transform = `scaleX(${share})`;
    for (const { waiter, waited, deadline, bar } of rows.values()) {
      const passed = waiter.waited + past, left = Math.max(0, waiter.deadline - past);
      set(waited, lasts(passed, 1));
      set(deadline, `${lasts(left, 1)} left`);
      const used = passed / (passed + left || 1);
      deadline.classList.toggle("near", used > 0.8);
      bar.style.transform = `scaleX(${Math.min(1, used)})`;
    }
  }

  // ---- figures ----

  // How many turns there were at which time. The lanes do not know the turns of events that were missed.
  let counted = [];
  function rateBesidesLanes(turns) {
    const t = here(), newest = counted.at(-1);
    if (newest && turns < newest.turns) counted = [];
    if (!newest || t - newest.t >= 1) counted.push({ t, turns });
    while (counted.length && t - counted[0].t > MINUTE) counted.shift();
    const first = counted[0];
    return first && t - first.t > 5 ? ((turns - first.turns) * MINUTE) / (t - first.t) : NaN;
  }
  function showFigures() {
    const modules = Object.values(status.modules), sum = (of) => modules.reduce((all, module) => all + of(module), 0);
    const run = timeline.runs[0], from = Math.max(run.from, run.end - MINUTE), span = run.end - from;
    let held = 0, turns = 0;
    for (let n = run.things.length - 1; n >= 0; n -= 1) {
      const thing = run.things[n], to = thing.open ? run.end : thing.to;
      if (thing.kind !== "hold" || to <= from) continue;
      held += to - Math.max(from, thing.from);
      if (thing.from >= from) turns += 1;
    }
    const timeouts = sum((module) => module.timeouts), all = sum((module) => module.turns);
    const besides = rateBesidesLanes(all), rate = missed > 0 || !(span > 5) ? besides : (turns * MINUTE) / span;
    set($("figure-turns"), whole(all));
    set($("figure-rate"), Number.isFinite(rate) ? whole(Math.round(rate)) : "–");
    set($("figure-held"), span > 5 && missed === 0 ? `${Math.round(Math.min(1, held / span) * 100)} %` : "–");
    set($("figure-longest"), short(Math.max(0, ...modules.map((module) => module.wait.max))));
    set($("figure-timeouts"), whole(timeouts));
    $("figure-timeouts").classList.toggle("ill", timeouts > 0);
    set($("figure-missed"), whole(missed));
    $("missed").hidden = missed === 0;
  }

  // ---- modules ----

  const moduleRows = new Map();
  function showModules() {
    const rank = (module) => { const n = facts.lanes.findIndex((lane) => lane.module === module); return n < 0 ? facts.lanes.length : n; };
    const names = Object.keys(status.modules).sort((a, b) => rank(a) - rank(b));
    const body = $("modules");
    for (const [name, row] of moduleRows) if (!(name in status.modules)) { row.item.remove(); moduleRows.delete(name); }
    const tallest = Math.max(0.001, ...[...waits.values()].flat());
    names.forEach((name, n) => {
      const module = status.modules[name];
      let row = moduleRows.get(name);
      if (!row) moduleRows.set(name, row = moduleRow(name));
      if (body.children[n] !== row.item) body.insertBefore(row.item, body.children[n] ?? null);
      const mode = module.disabled ? "disabled" : module.mode === "enforced" ? "" : module.mode;
      set(row.mode, mode);
      row.mode.hidden = !mode;
      row.mode.className = `chip ${module.disabled ? "ill" : "odd"}`;
      const priority = priorityOf(name);
      set(row.priority, priority === undefined || priority === null ? "" : String(priority));
      row.priority.hidden = row.priority.textContent === "";
      set(row.turns, module.passes ? `${whole(module.turns)} + ${whole(module.passes)}` : whole(module.turns));
      row.turns.title = module.passes ? "turns and passes" : "";
      set(row.timeouts, whole(module.timeouts));
      row.timeouts.classList.toggle("ill", module.timeouts > 0);
      const some = module.turns + module.passes > 0, time = (node, s) => set(node, some ? short(s) : "–");
      time(row.p50, module.wait.p50);
      time(row.p99, module.wait.p99);
      time(row.max, module.wait.max);
      time(row.hold, module.hold.p50);
      time(row.longest, module.hold.max);
      spark(row, waits.get(name) ?? [], tallest);
      set(row.disable, module.disabled ? "Enable" : "Disable");
      if (document.activeElement !== row.choose) row.choose.value = module.mode;
    });
  }
  function moduleRow(name) {
    const item = make("tr"), row = { item, drawn: "" };
    const head = make("th", item);
    head.scope = "row";
    const label = make("span", head);
    label.className = "name";
    dot(label, name);
    make("b", label, name);
    row.priority = make("span", label);
    row.priority.className = "chip";
    row.priority.title = "priority";
    row.mode = make("span", label);
    const cell = (key, title) => {
      row[key] = make("td", item);
      if (title) row[key].dataset.name = title;
      return row[key];
    };
    cell("turns", "turns");
    cell("timeouts", "timeouts");
    cell("p50", "median");
    cell("p99", "p99");
    cell("max", "longest");
    const graph = cell("graph");
    graph.className = "spark";
    row.svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    row.svg.setAttribute("viewBox", "0 0 120 22");
    row.svg.setAttribute("preserveAspectRatio", "none");
    row.svg.setAttribute("role", "img");
    row.path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    row.path.style.fill = timeline.colour(name);
    row.svg.append(row.path);
    graph.append(row.svg);
    cell("hold").className = "holds";
    cell("longest").className = "holds";
    const tools = make("div", cell("steering"));
    row.steering.className = "steers";
    const button = (text, about, act) => {
      const node = make("button", tools, text);
      node.type = "button";
      node.setAttribute("aria-label", `${about} ${name}`);
      node.addEventListener("click", act);
      return node;
    };
    button("Cancel", "Cancel the waiting requests of", () => steer({ op: "cancel", module: name }, `Cancelled the waiting requests of ${name}`));
    row.disable = button("Disable", "Disable or enable", () => {
      const op = row.disable.textContent === "Disable" ? "disable" : "enable";
      steer({ op, module: name }, `${name} is ${op}d`);
    });
    row.choose = make("select", tools);
    row.choose.setAttribute("aria-label", `Mode of ${name}`);
    for (const mode of facts.modes) make("option", row.choose, mode);
    row.choose.addEventListener("change", () => steer({ op: "mode", module: name, mode: row.choose.value }, `${name} is ${row.choose.value}`));
    return row;
  }
  // Draws a bar for each wait, the newest last. Its height is the root of the wait, so that short waits can be seen beside long ones.
  function spark(row, list, tallest) {
    const key = `${list.length} ${list.at(-1)} ${list[0]} ${tallest}`;
    if (row.drawn === key) return;
    row.drawn = key;
    const bars = list.map((wait, n) => {
      const height = Math.max(1, Math.sqrt(wait / tallest) * 21), x = n * 3;
      return `M${x} 22v${-height.toFixed(1)}h2v${height.toFixed(1)}z`;
    });
    row.path.setAttribute("d", bars.join(""));
    row.svg.setAttribute("aria-label", list.length ? `the last waits: ${list.slice(-5).map(short).join(", ")}` : "no waits yet");
  }

  // ---- steering ----

  const kept = { get: () => { try { return sessionStorage.getItem("packet-mutex-secret"); } catch { return null; } },
    set: (value) => { try { value === null ? sessionStorage.removeItem("packet-mutex-secret") : sessionStorage.setItem("packet-mutex-secret", value); } catch { /* private mode */ } } };
  let secret = kept.get();
  // A header takes only bytes, so the secret's letters are encoded.
  const bearer = (text) => `Bearer ${String.fromCharCode(...new TextEncoder().encode(text))}`;
  async function send(step, by) {
    const answer = await fetch(path("steer"), { method: "POST", headers: { Authorization: bearer(by) }, body: JSON.stringify(step) });
    if (answer.ok) return null;
    const data = await answer.json().catch(() => ({}));
    return { status: answer.status, why: data.message ?? `refused (${answer.status})` };
  }
  function showOutcome(text, bad = false) {
    $("outcome").className = bad ? "bad" : "";
    $("outcome").textContent = text;
  }
  async function steer(step, done) {
    try {
      const refused = await send(step, secret ?? "");
      if (refused?.status === 401) lock();
      showOutcome(refused ? refused.why : done, refused !== null);
    } catch {
      showOutcome("The server cannot be reached; nothing was changed.", true);
    }
  }
  function lock() {
    secret = null;
    kept.set(null);
    showKey();
  }
  function showKey() {
    const unlocked = secret !== null && facts.steering;
    document.body.classList.toggle("unlocked", unlocked);
    $("key").hidden = false;
    $("key").disabled = !facts.steering;
    $("key").textContent = !facts.steering ? "Read only" : unlocked ? "Lock" : "Steer…";
    $("key").title = facts.steering ? "" : "The server has no secret (PACKET_MUTEX_SECRET), so nobody can steer from here.";
  }
  $("key").addEventListener("click", () => {
    if (secret !== null) return lock();
    $("unlock-why").textContent = "";
    $("secret").value = "";
    $("unlock").showModal();
  });
  $("unlock-cancel").addEventListener("click", () => $("unlock").close());
  $("unlock").querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = $("secret").value;
    try {
      const refused = await send({ op: "check" }, text);
      if (refused) {
        $("unlock-why").textContent = refused.why;
        $("secret").select();
        return;
      }
    } catch {
      $("unlock-why").textContent = "The server cannot be reached.";
      return;
    }
    secret = text;
    kept.set(text);
    $("unlock").close();
    showKey();
    $("key").focus();
  });
  const pause = $("pause");
  pause.elements.level.addEventListener("change", () => { $("pause-below").hidden = pause.elements.level.value !== "below"; });
  pause.addEventListener("submit", (event) => {
    event.preventDefault();
    const { reason, level, below, lasts: length } = pause.elements;
    const step = { op: "pause", reason: reason.value, below: level.value === "below" ? Number(below.value) : "urgent" };
    if (length.value !== "") step.lasts = Number(length.value);
    steer(step, `Paused: ${reason.value}`);
  });

  // ---- the connection ----

  let source = null, boot = null, lastId = null, heard = 0, retry = 0, again = null, live = false;
  function link(state, text) {
    live = state === "live";
    if ($("link").dataset.state !== state) {
      $("link").dataset.state = state;
      $("link").textContent = text;
    }
    document.body.classList.toggle("stale", state === "lost");
  }
  function connect() {
    clearTimeout(again);
    source?.close();
    heard = here();
    const mine = source = new EventSource(path("events", lastId === null ? {} : { after: lastId }));
    const on = (name, act) => mine.addEventListener(name, (event) => {
      if (mine !== source) return;
      heard = here();
      act(JSON.parse(event.data), event);
    });
    on("hello", hello);
    on("events", (list, event) => { lastId = event.lastEventId; list.forEach(addEvent); });
    on("status", (data) => {
      syncClock(data.t);
      status = data;
      statusAt = here();
      retry = 0;
      link("live", "live");
      show();
    });
    mine.onerror = () => { if (mine === source) lost(); };
  }
  function lost() {
    source.close();
    source = null;
    link("lost", "reconnecting");
    // From a quarter of a second to five.
    const wait = Math.min(5, 0.25 * 1.7 ** retry);
    retry += 1;
    clearTimeout(again);
    again = setTimeout(connect, wait * 1000);
  }
  function hello(data) {
    facts = data;
    if (boot !== null && (data.boot !== boot || (lastId !== null && !data.resumed))) {
      // Another run of the server, with other numbers and another clock.
      lastId = null;
      waits.clear();
      missed = 0;
      offset = null;
      for (const row of [...rows.values(), ...moduleRows.values()]) row.item.remove();
      rows.clear();
      moduleRows.clear();
      timeline.restart(data.lanes);
    }
    ({ boot } = data);
    const choose = $("switcher").querySelector("select");
    $("switcher").hidden = data.mutexes.length < 2;
    choose.replaceChildren(...data.mutexes.map((name) => new Option(name, name, false, name === data.mutex)));
    showKey();
  }
  $("switcher").addEventListener("change", (event) => { location.search = new URLSearchParams({ mutex: event.target.value }); });
  function addEvent(event) {
    if (event.event === "dropped") {
      missed += event.count;
      timeline.forget();
    }
    if (event.event === "granted" && event.token !== null && typeof event.waited === "number") {
      const list = waits.get(event.module) ?? [];
      list.push(event.waited);
      if (list.length > WAITS) list.shift();
      waits.set(event.module, list);
    }
    timeline.push(event);
  }
  function show() {
    showHolder();
    showQueue();
    tick();
    // Figures that change more often than a person can read are only noise.
    show.timer ??= setTimeout(() => { show.timer = null; showFigures(); showModules(); }, 200);
  }
  setInterval(() => { if (source && here() - heard > SILENCE) lost(); }, 2000);
  // A hidden tab stops listening, because a browser allows few connections to one server.
  let away = null;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(away);
    if (!document.hidden) {
      if (!source) connect();
      return;
    }
    away = setTimeout(() => {
      clearTimeout(again);
      source?.close();
      source = null;
      link("lost", "asleep");
    }, 30000);
  });

  let drawn = -1e9, ticked = 0;
  function frame() {
    requestAnimationFrame(frame);
    if (!live || offset === null) return;
    const t = here() + offset - LAG;
    // Nothing is drawn again until something has moved by half a pixel.
    if (Math.abs(t - drawn) >= (calm.matches ? 1 : timeline.pixel / 2)) {
      drawn = t;
      timeline.now(t);
    }
    if (here() - ticked >= (calm.matches ? 1 : 0.09)) {
      ticked = here();
      tick();
    }
  }
  showKey();
  $("key").hidden = true;
  connect();
  frame();
})();
