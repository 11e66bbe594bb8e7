// Draws the runs of #timeline-data, and defines `timeline`, of which html.rs has the documentation. A live page keeps the
// newest event at its right edge until its reader looks elsewhere.

const timeline = (() => {
  const ROW = 30, TOP = 24, AXIS = 26, STRIP = 16, PAD = 10;
  const MAX_THINGS = 30000, MIN_SPAN = 0.005;
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("timeline-data").textContent);
  const lanes = data.lanes;
  const groupOf = (module) => lanes.find((lane) => lane.module === module)?.group ?? module;
  const tip = $("tip");
  let cursor = null, active = null, lastSelected = null, frame = 0, epoch = null;

  const charts = data.runs.map((run, i) => {
    const model = new RunModel(groupOf, run.events.length + run.actions.length ? run.start : null);
    run.events.forEach((event, n) => {
      if (n === run.contiguous) model.forgetOpen(run.events[n - 1].t - run.start);
      model.push(event);
    });
    run.actions.forEach((action) => model.pushAction(action));
    model.end = Math.max(model.end, run.end - run.start);
    return { i, run, model, view: null, follow: data.live, showsAll: false, hover: null, hits: [], selected: null, lane: 0, pointers: new Map(),
      box: document.querySelector(`[data-run="${i}"]`) };
  });
  let origin = 0, total = 1;
  const measure = () => {
    total = Math.max(...charts.map((c) => c.model.end), 0) || 1;
    origin = Math.min(...charts.map((c) => c.model.from), total);
  };

  // ---- words ----

  const seconds = (s) => `${s.toFixed(3)} s`;
  // Seconds from midnight to the run's zero, if the wall clock is known.
  const midnight = () => {
    if (epoch === null) return 0;
    const zero = epoch + (charts[0]?.model.start ?? 0);
    return zero - new Date(zero * 1000).getTimezoneOffset() * 60;
  };
  function clock(t, step = 0.001) {
    const digits = clamp(Math.ceil(-Math.log10(step) - 1e-9), 0, 6);
    if (epoch !== null && Number.isFinite(t)) {
      const rest = 86400, day = (((Number((midnight() + t).toFixed(digits)) % rest) + rest) % rest);
      const two = (n) => String(Math.floor(n)).padStart(2, "0");
      return `${two(day / 3600)}:${two((day / 60) % 60)}:${(day % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0")}`;
    }
    if (total < 120 || !Number.isFinite(t) || Math.abs(t) > 1e9) return `${Number(t.toFixed(digits)).toFixed(digits)} s`;
    const sign = t < 0 ? "−" : "", whole = Math.abs(Number(t.toFixed(digits)));
    const h = Math.floor(whole / 3600), m = Math.floor(whole / 60) % 60, s = (whole % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
    return h ? `${sign}${h}:${String(m).padStart(2, "0")}:${s}` : `${sign}${m}:${s}`;
  }
  function title(thing) {
    const words = (name) => name.replaceAll("_", " ");
    switch (thing.kind) {
      case "hold": return `${thing.module} ${thing.open ? "holds" : "held"} the mutex`;
      case "wait": return `${thing.module} ${thing.open ? "is waiting" : "waited"}`;
      case "nested": return `${thing.module}: nested turn`;
      case "pass": return `${thing.module}: pass (observed)`;
      case "handover": return `handover: ${thing.after} → ${thing.module}`;
      case "cycle": return `${thing.module}: cycle ${thing.facts[0].cycle}`;
      case "action": return `${thing.module}: action ${thing.name === "interleaved" ? "in another module's cycle" : words(thing.facts[0].verdict)}`;
      default: return `${thing.module ? `${thing.module}: ` : ""}${words(thing.name)}`;
    }
  }
  // Everything that is known: first the times, then the fields of all its events.
  function facts(thing, model) {
    const rows = new Map();
    if (thing.to > thing.from || thing.open) {
      const to = thing.open ? model.end : thing.to;
      rows.set("from", clock(thing.from)).set("to", thing.open ? "still open" : clock(to)).set("lasted", seconds(to - thing.from));
    } else rows.set("at", clock(thing.from));
    if (thing.outcome) rows.set("outcome", thing.outcome.replaceAll("_", " "));
    const seqs = thing.facts.map((fact) => fact.seq).filter((seq) => seq !== undefined);
    for (const fact of thing.facts) {
      for (const [key, value] of Object.entries(fact)) {
        if (["seq", "t", "event", "module"].includes(key) || value === null) continue;
        const name = key.replaceAll("_", " ");
        rows.set(name, ["held", "waited"].includes(key) && Number.isFinite(value) ? seconds(value) : String(value));
      }
    }
    if (seqs.length) rows.set(seqs.length > 1 ? "events" : "event", seqs.map((seq) => `#${seq}`).join(", "));
    return rows;
  }

  // ---- drawing ----

  function theme() {
    const style = getComputedStyle(document.documentElement);
    const get = (name) => style.getPropertyValue(`--${name}`).trim();
    for (const name of ["card", "ink", "soft", "line", "lane", "band", "bad", "warn", "focus"]) colours[name] = get(name);
    colours.groups = [0, 1, 2, 3, 4, 5].map((n) => get(`g${n}`));
    patterns.clear();
    laneNames();
    legend();
    redraw();
  }
  function groupNumber(module) {
    const groups = [...new Set(lanes.map((lane) => lane.group))];
    return Math.max(0, groups.indexOf(groupOf(module))) % 6;
  }
  const colourOf = (module) => colours.groups[groupNumber(module)];
  // A good action is a dot in the lane's colour, or a hole in the bar of its turn.
  const paintOf = (thing) => colours[thing.tone] ??
    (thing.name !== "ok" ? colours.soft : thing.facts[0].token ? colours.card : colourOf(thing.module));

  function draw(chart) {
    const { model, view, canvas } = chart;
    const width = canvas.clientWidth, bottom = TOP + lanes.length * ROW, height = bottom + AXIS + STRIP;
    const ratio = devicePixelRatio || 1;
    canvas.style.height = `${height}px`;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const ctx = canvas.getContext("2d");
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, width, height);
    const scale = (width - 2 * PAD) / (view.to - view.from);
    const X = (t) => clamp(PAD + (t - view.from) * scale, -40, width + 40);
    const laneAt = new Map(lanes.map((lane, n) => [lane.module, n]));
    const Y = (module) => (laneAt.has(module) ? TOP + laneAt.get(module) * ROW + ROW / 2 : TOP / 2);
    const until = (thing) => (thing.open ? model.end : thing.to);
    const hits = chart.hits = [];
    const hit = (thing, x, x2, y, y2) => hits.push({ thing, x, x2, y, y2 });
    ctx.font = `11px ${getComputedStyle(document.body).fontFamily}`;

    // The background: a faint line for each lane, and the axis.
    ctx.fillStyle = colours.lane;
    lanes.forEach((_, n) => ctx.fillRect(0, TOP + n * ROW + ROW / 2 - 0.5, width, 1));
    const shift = midnight(), { step, at } = ticks(view.from + shift, view.to + shift, width);
    ctx.textAlign = "center";
    for (const t of at.map((tick) => tick - shift)) {
      if (t < origin) continue;
      const x = X(t), label = clock(t, step), half = ctx.measureText(label).width / 2;
      ctx.fillStyle = colours.line;
      ctx.fillRect(Math.round(x), TOP - 4, 1, bottom - TOP + 8);
      ctx.fillStyle = colours.soft;
      ctx.fillText(label, clamp(x, half + 4, width - half - 4), bottom + 17);
    }

    // In layers, so that marks are never hidden. A thing is skipped if the one before it in its lane covers its pixels: a long
    // log has many more things than pixels.
    const visible = model.things.filter((thing) => until(thing) >= view.from - 20 / scale && thing.from <= view.to + 20 / scale);
    for (const thing of visible) {
      if (thing.kind !== "handover") continue;
      const x = X(thing.from), x2 = X(thing.to);
      ctx.fillStyle = colours.band;
      ctx.globalAlpha = 0.6;
      ctx.fillRect(x, TOP - 4, Math.max(x2 - x, 1), bottom - TOP + 8);
      ctx.globalAlpha = 1;
      const label = (thing.to - thing.from).toFixed(x2 - x > 44 ? 3 : 1);
      if (ctx.measureText(label).width + 6 < x2 - x) {
        ctx.fillStyle = colours.soft;
        ctx.fillText(label, (x + x2) / 2, TOP - 9);
      }
      hit(thing, x, x2, 0, bottom);
    }
    for (const kind of ["cycle", "wait", "pass", "hold", "nested"]) {
      const right = new Map();
      for (const thing of visible) {
        if (thing.kind !== kind || !laneAt.has(thing.module)) continue;
        const x = X(thing.from), x2 = X(until(thing)), y = Y(thing.module);
        if (!isVisible(thing)) continue;
        if (Math.max(x2, x + 1) <= (right.get(thing.module) ?? -99)) continue;
        right.set(thing.module, Math.max(x2, x + 1));
        drawBar(ctx, kind, colourOf(thing.module), x, x2, y);
        hit(thing, x, x2, y - 9, y + 9);
      }
    }
    const drawn = new Map();
    const roomy = new Set(hits.filter((h) => h.thing.kind === "hold" && h.x2 - h.x > 8).map((h) => String(h.thing.facts[0].token)));
    for (const tone of [undefined, "warn", "bad"]) {
      for (const thing of visible) {
        if ((thing.kind !== "mark" && thing.kind !== "action") || thing.tone !== tone) continue;
        // Holes would leave nothing of a narrow turn.
        if (thing.name === "ok" && thing.facts[0].token && !roomy.has(String(thing.facts[0].token))) continue;
        const name = glyphOf(thing), x = X(thing.from), y = Y(thing.module), key = `${name} ${y}`;
        if (x - (drawn.get(key) ?? -99) < (tone ? 2 : 3)) continue;
        drawn.set(key, x);
        drawGlyph(ctx, name, paintOf(thing), x, y);
        hit(thing, x - 6, x + 6, y - 8, y + 8);
      }
    }

    drawOverview(ctx, chart, width, bottom + AXIS);
    if (cursor !== null && cursor >= view.from && cursor <= view.to) {
      ctx.fillStyle = colours.soft;
      ctx.fillRect(Math.round(X(cursor)), TOP - 4, 1, bottom - TOP + 8);
    }
    const ring = chart.selected && hits.find((h) => h.thing === chart.selected);
    if (ring) {
      ctx.strokeStyle = colours.focus;
      ctx.lineWidth = 2;
      bar(ctx, ring.x - 3, ring.y - 2, Math.max(ring.x2 - ring.x, 2) + 6, ring.y2 - ring.y + 4, 6);
      ctx.stroke();
    }
  }
  // A small picture of the whole run, with its troubles and the part that is shown.
  function drawOverview(ctx, { model, view }, width, y) {
    const x = (t) => PAD + clamp((t - origin) / (total - origin || 1), 0, 1) * (width - 2 * PAD);
    ctx.fillStyle = colours.lane;
    bar(ctx, PAD, y, width - 2 * PAD, 6, 3);
    ctx.fill();
    ctx.fillStyle = colours.band;
    bar(ctx, x(view.from), y, Math.max(x(view.to) - x(view.from), 4), 6, 3);
    ctx.fill();
    let last = -9;
    for (const thing of model.things) {
      if (!thing.tone || x(thing.from) - last < 1) continue;
      last = x(thing.from);
      ctx.fillStyle = colours[thing.tone];
      ctx.fillRect(last - 0.75, y, 1.5, 6);
    }
  }
  function redraw() {
    if (frame) return;
    frame = requestAnimationFrame(() => {
      frame = 0;
      for (const chart of charts) {
        // While the chart moves under a resting pointer, the tip changes as if the pointer moved.
        if (chart.hover && chart.follow) cursor = timeAt(chart, chart.hover.x);
        draw(chart);
        if (chart.hover && chart.follow) hoverTip(chart);
      }
    });
  }

  // ---- what stands around the charts ----

  function laneNames() {
    describe();
    for (const chart of charts) {
      chart.names.replaceChildren();
      lanes.forEach((lane, n) => {
        const item = make("li", chart.names);
        item.classList.toggle("chosen", chart.names.dataset.chosen === String(n));
        make("i", item).style.background = colourOf(lane.module);
        make("span", item, lane.module).title = lane.group === lane.module ? lane.module : `${lane.module}, group ${lane.group}`;
        if (lane.priority !== null && lane.priority !== undefined) make("small", item, lane.priority).title = "priority";
      });
    }
  }
  function describe() {
    for (const chart of charts) {
      chart.names.classList.toggle("timed", chart.model.count("handover") > 0);
      const { model } = chart, bad = model.things.filter((thing) => thing.tone).length;
      chart.canvas.setAttribute("aria-label", `Timeline ${chart.run.title}: ${epoch === null ? clock(model.end) : `until ${clock(model.end, 1)}`}, ${model.count("hold")} turns, ` +
        `${model.things.filter((t) => t.kind === "wait" && isVisible(t)).length} waits, ${model.count("handover")} handovers, ${model.count("action")} actions, ${bad} troubles. Arrow keys move, n and p step through a lane, t goes to the next trouble.`);
    }
  }
  function legend() {
    const list = $("legend"), things = charts.flatMap((chart) => chart.model.things);
    const kinds = new Set(things.filter(isVisible).map((t) => t.kind));
    const glyphs = new Map(things.filter((t) => t.kind === "mark" || t.kind === "action").map((t) => [glyphOf(t), t]));
    const item = (text, width, paint) => {
      const li = make("li", list), canvas = make("canvas", li), ratio = devicePixelRatio || 1;
      canvas.style.width = `${width}px`;
      canvas.width = width * ratio;
      canvas.height = 16 * ratio;
      canvas.setAttribute("aria-hidden", "true");
      const ctx = canvas.getContext("2d");
      ctx.scale(ratio, ratio);
      paint(ctx);
      make("span", li, text);
    };
    list.replaceChildren();
    for (const [kind, text] of BARS) {
      if (!kinds.has(kind)) continue;
      item(text, 24, (ctx) => {
        if (kind === "nested") drawBar(ctx, "hold", colours.soft, 0, 24, 8);
        ctx.fillStyle = colours.band;
        if (kind === "handover") ctx.fillRect(2, 0, 20, 16);
        else drawBar(ctx, kind, colours.soft, kind === "nested" ? 5 : 0, kind === "nested" ? 19 : 24, 8);
      });
    }
    for (const [name, [, text]] of Object.entries(GLYPHS)) {
      const thing = glyphs.get(name);
      if (thing) item(text, 16, (ctx) => drawGlyph(ctx, name, thing.tone ? colours[thing.tone] : colours.soft, 8, 8));
    }
    list.hidden = !list.children.length;
    $("troubles").hidden = !things.some((thing) => thing.tone);
  }

  function showTip(chart, thing, x, y) {
    tip.replaceChildren();
    make("b", tip, title(thing)).className = thing.tone ? "bad" : "";
    const list = make("dl", tip);
    for (const [name, value] of facts(thing, chart.model)) {
      make("dt", list, name);
      make("dd", list, value);
    }
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${clamp(x + 14, 8, Math.max(8, innerWidth - width - 8))}px`;
    tip.style.top = `${y + 18 + height < innerHeight ? y + 18 : Math.max(8, y - height - 14)}px`;
  }
  function hitAt(chart, x, y, slack) {
    const near = chart.hits.filter((h) => x >= h.x - slack && x <= h.x2 + slack && y >= h.y && y <= h.y2);
    return near.findLast((h) => x >= h.x && x <= h.x2) ?? near.findLast((h) => h.thing.kind !== "handover");
  }

  // ---- moving about ----

  function setView(chart, from, to) {
    const longest = total - origin;
    const span = clamp(to - from, Math.min(MIN_SPAN, longest), longest);
    const start = clamp(from + (to - from - span) / 2, origin, total - span);
    for (const other of $("linked").checked ? charts : [chart]) {
      other.view = { from: start, to: start + span };
      // A view that was moved to the end follows it, and a view of everything goes on showing everything.
      other.follow = data.live && start + span > total - span / 500;
      other.showsAll = other.follow && start <= origin;
    }
    showFollow();
    redraw();
  }
  // A chart that follows the newest event keeps its right edge.
  function zoom(chart, factor, share = chart.follow ? 1 : 0.5) {
    const { from, to } = chart.view, middle = from + (to - from) * share, span = clamp((to - from) * factor, MIN_SPAN, total - origin);
    setView(chart, middle - span * share, middle + span * (1 - share));
  }
  function pan(chart, share) {
    const { from, to } = chart.view, by = (to - from) * share;
    setView(chart, from + by, to + by);
  }
  // The last minute, or less on a phone, so that turns of a second can be told apart.
  const usualSpan = (chart) => clamp((chart.canvas.clientWidth - 2 * PAD) / 14, 20, 60);
  function followEnd(chart) {
    const span = chart.view.to - chart.view.from;
    chart.view = { from: chart.showsAll ? origin : total - span, to: total };
  }
  function followAll(follow) {
    for (const chart of charts) {
      chart.follow = follow;
      chart.showsAll = false;
      if (follow) chart.view = { from: total - usualSpan(chart), to: total };
    }
    showFollow();
    redraw();
  }
  const toggleFollow = () => { if (data.live) followAll(!current()?.follow); };
  function showFollow() {
    $("live").setAttribute("aria-pressed", String(charts.some((chart) => chart.follow)));
  }
  function select(chart, thing) {
    // If the chart moved on, the tip would no longer be beside its thing.
    chart.follow = false;
    showFollow();
    charts.forEach((other) => { other.selected = null; });
    chart.selected = lastSelected = thing;
    active = chart;
    const { from, to } = chart.view, span = to - from;
    if (thing.from < from || thing.from > to) setView(chart, thing.from - span / 2, thing.from + span / 2);
    charts.forEach(draw);
    const box = chart.canvas.getBoundingClientRect(), h = chart.hits.find((hit) => hit.thing === thing);
    const x = h ? clamp((h.x + Math.min(h.x2, h.x + 60)) / 2, 0, box.width) : box.width / 2;
    showTip(chart, thing, box.left + x, box.top + (h ? h.y : TOP));
    $("announcement").textContent = `${title(thing)}. ${[...facts(thing, chart.model)].map((row) => row.join(" ")).join(", ")}`;
  }
  function deselect() {
    charts.forEach((chart) => { chart.selected = null; });
    tip.hidden = true;
    cursor = null;
    redraw();
  }
  function selectNext(chart, by) {
    const module = lanes[chart.lane]?.module;
    const shown = (t) => !["handover", "cycle"].includes(t.kind) && isVisible(t);
    const things = chart.model.things.filter((t) => t.module === module && shown(t)).sort((a, b) => a.from - b.from);
    if (!things.length) return;
    const now = things.indexOf(chart.selected);
    const next = now < 0 ? Math.max(0, things.findIndex((t) => t.to >= chart.view.from)) : clamp(now + by, 0, things.length - 1);
    select(chart, things[next]);
  }
  function selectTrouble(by) {
    const all = charts.flatMap((chart) => chart.model.things.filter((t) => t.tone).sort((a, b) => a.from - b.from).map((thing) => ({ chart, thing })));
    if (!all.length) return;
    // A click on the button takes the focus from the chart, which deselects. So this goes on from the last selection.
    const now = all.findIndex(({ thing }) => thing === lastSelected);
    const { chart, thing } = all[now < 0 ? (by > 0 ? 0 : all.length - 1) : (now + by + all.length) % all.length];
    chart.canvas.scrollIntoView({ block: "nearest" });
    chart.canvas.focus({ preventScroll: true });
    select(chart, thing);
  }
  function chooseLane(chart, by) {
    chart.lane = clamp(chart.lane + by, 0, Math.max(0, lanes.length - 1));
    chart.selected = null;
    chart.names.dataset.chosen = chart.lane;
    laneNames();
    selectNext(chart, 0);
    if (!chart.selected) $("announcement").textContent = `${lanes[chart.lane]?.module}: nothing happened`;
  }
  function onKey(chart, event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      ArrowLeft: () => pan(chart, -0.15), ArrowRight: () => pan(chart, 0.15),
      ArrowUp: () => chooseLane(chart, -1), ArrowDown: () => chooseLane(chart, 1),
      "+": () => zoom(chart, 0.7), "=": () => zoom(chart, 0.7), "-": () => zoom(chart, 1 / 0.7),
      0: () => setView(chart, origin, total), l: toggleFollow, Home: () => pan(chart, -1e9), End: () => pan(chart, 1e9),
      n: () => selectNext(chart, 1), p: () => selectNext(chart, -1), t: () => selectTrouble(1), T: () => selectTrouble(-1), Escape: deselect,
    }[event.key];
    if (act) { event.preventDefault(); act(); }
  }
  const timeAt = (chart, x) => chart.view.from + ((x - PAD) / (chart.canvas.clientWidth - 2 * PAD)) * (chart.view.to - chart.view.from);
  function hoverTip(chart) {
    const { x, y, clientX, clientY } = chart.hover, h = hitAt(chart, x, y, 3);
    if (h) showTip(chart, h.thing, clientX, clientY);
    else tip.hidden = true;
  }
  function onPointer(chart, event) {
    const box = chart.canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    const { pointers, canvas } = chart, width = box.width - 2 * PAD, span = chart.view.to - chart.view.from;
    const onStrip = y > box.height - STRIP - 6;
    const jump = () => { const t = origin + ((x - PAD) / width) * (total - origin); setView(chart, t - span / 2, t + span / 2); };
    if (event.type === "pointerdown") {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, { x, y, moved: false, strip: onStrip });
      active = chart;
      if (onStrip) jump();
    } else if (event.type === "pointermove" && pointers.has(event.pointerId)) {
      const old = pointers.get(event.pointerId);
      if (old.strip) jump();
      else if (pointers.size === 1) {
        if (!old.moved && Math.hypot(x - old.x, y - old.y) < 4) return;
        canvas.classList.add("dragged");
        tip.hidden = true;
        pan(chart, (old.x - x) / width);
      } else {
        const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
        const before = Math.max(10, Math.abs(old.x - other.x)), after = Math.max(10, Math.abs(x - other.x));
        zoom(chart, before / after, clamp(((x + other.x) / 2 - PAD) / width, 0, 1));
      }
      pointers.set(event.pointerId, { ...old, x, y, moved: true });
    } else if (event.type === "pointermove") {
      chart.hover = { x, y, clientX: event.clientX, clientY: event.clientY };
      cursor = timeAt(chart, x);
      hoverTip(chart);
      redraw();
    } else {
      const old = pointers.get(event.pointerId);
      pointers.delete(event.pointerId);
      canvas.classList.remove("dragged");
      if (event.type === "pointerup" && old && !old.moved && !old.strip) {
        const h = hitAt(chart, x, y, event.pointerType === "touch" ? 10 : 3);
        if (h) select(chart, h.thing);
        else deselect();
      }
    }
  }
  // The wheel alone scrolls the page, unless the chart has the focus.
  function onWheel(chart, event) {
    const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (!sideways && !event.ctrlKey && !event.metaKey && document.activeElement !== chart.canvas) return;
    event.preventDefault();
    const box = chart.canvas.getBoundingClientRect();
    if (sideways) pan(chart, (event.deltaX || event.deltaY) / box.width);
    else zoom(chart, Math.exp(clamp(event.deltaY, -200, 200) * (event.ctrlKey ? 0.008 : 0.002)), clamp((event.clientX - box.left - PAD) / (box.width - 2 * PAD), 0, 1));
  }

  // ---- events that come update ----

  // Adds something to a run. A view that follows goes on showing the newest.
  function update(i, add) {
    const chart = charts[i];
    if (!chart || !add(chart.model)) return false;
    chart.model.bound(MAX_THINGS);
    measure();
    for (const other of charts) if (other.follow) followEnd(other);
    redraw();
    return true;
  }
  // Words need not change with every event: a busy mutex has thousands a second.
  function describeSoon() {
    describeSoon.timer ??= setTimeout(() => { describeSoon.timer = null; describe(); legend(); }, 500);
    return true;
  }
  function addLane(module) {
    if (typeof module !== "string" || lanes.length >= data.maxLanes || lanes.some((l) => l.module === module)) return;
    lanes.push({ module, group: module, priority: null });
    laneNames();
  }
  const api = {
    push: (event, run = 0) => { addLane(event?.module); return update(run, (model) => model.push(event)) && describeSoon(); },
    pushAction: (action, run = 0) => { addLane(action?.module); return update(run, (model) => model.pushAction(action)) && describeSoon(); },
    now: (t, run = 0) => update(run, (model) => { model.start ??= t; model.end = Math.max(model.end, t - model.start || 0); return true; }),
    wall: (seconds) => { epoch = seconds; redraw(); },
    // What is open has ended at a time that nobody knows.
    forget: (run = 0) => charts[run]?.model.forgetOpen(charts[run].model.newest),
    restart: (others) => {
      lanes.splice(0, lanes.length, ...others);
      for (const chart of charts) Object.assign(chart, { model: new RunModel(groupOf, null), selected: null, lane: 0 });
      measure();
      followAll(data.live);
      laneNames();
      legend();
    },
    get runs() { return charts.map((chart) => chart.model); },
    zoom: (from, to, run = 0) => charts[run] && setView(charts[run], from, to),
    // Seconds for each pixel.
    get pixel() { return charts[0] ? (charts[0].view.to - charts[0].view.from) / Math.max(1, charts[0].canvas.clientWidth) : 1; },
    get following() { return charts.some((chart) => chart.follow); },
    // The colour of a module's group, as a CSS value.
    colour: (module) => `var(--g${groupNumber(module)})`,
  };

  // ---- start ----

  measure();
  for (const chart of charts) {
    chart.names = make("ul", chart.box);
    chart.names.className = "names";
    chart.names.setAttribute("aria-label", "Lanes");
    const plot = make("div", chart.box);
    plot.className = "plot";
    chart.canvas = make("canvas", plot);
    chart.canvas.tabIndex = 0;
    chart.canvas.setAttribute("role", "application");
    chart.canvas.setAttribute("aria-roledescription", "timeline");
    for (const type of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) chart.canvas.addEventListener(type, (event) => onPointer(chart, event));
    chart.canvas.addEventListener("pointerleave", () => { chart.hover = null; tip.hidden = true; cursor = null; redraw(); });
    chart.canvas.addEventListener("wheel", (event) => onWheel(chart, event), { passive: false });
    chart.canvas.addEventListener("keydown", (event) => onKey(chart, event));
    chart.canvas.addEventListener("focus", () => { active = chart; });
    chart.canvas.addEventListener("blur", deselect);
    new ResizeObserver(redraw).observe(chart.canvas);
  }
  const current = () => active ?? charts[0];
  const click = (id, act) => $(id).addEventListener("click", () => current() && act());
  click("zoom-in", () => zoom(current(), 0.6));
  click("zoom-out", () => zoom(current(), 1 / 0.6));
  click("zoom-fit", () => setView(current(), origin, total));
  click("live", toggleFollow);
  click("trouble-next", () => selectTrouble(1));
  click("trouble-back", () => selectTrouble(-1));
  $("linked").addEventListener("change", () => { if (current()) setView(current(), current().view.from, current().view.to); });
  $("linked-label").hidden = charts.length < 2;
  $("tools").hidden = !charts.length;
  $("live").hidden = !data.live;
  for (const node of document.querySelectorAll(".help .live")) node.hidden = !data.live;
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  // The choice is kept if the browser allows it.
  const stored = { get: () => { try { return localStorage.getItem("timeline-theme"); } catch { return null; } },
    set: (value) => { try { localStorage.setItem("timeline-theme", value); } catch { /* private mode */ } } };
  const themes = ["auto", "light", "dark"];
  let chosen = Math.max(0, themes.indexOf(stored.get()));
  const applyTheme = () => {
    document.documentElement.dataset.theme = themes[chosen];
    $("theme").textContent = { auto: "Theme: auto", light: "Theme: light", dark: "Theme: dark" }[themes[chosen]];
    theme();
  };
  $("theme").hidden = false;
  $("theme").addEventListener("click", () => {
    chosen = (chosen + 1) % themes.length;
    stored.set(themes[chosen]);
    applyTheme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", theme);
  applyTheme();

  // The first view shows everything, or as much of the beginning as leaves eight pixels for a median turn. The run with the
  // longest turns counts: at the scale of another run's milliseconds, one of its turns would fill the screen.
  const median = (chart) => {
    const held = chart.model.things.filter((t) => t.kind === "hold").map((t) => t.to - t.from).sort((a, b) => a - b);
    return held[held.length >> 1] || 0;
  };
  const usual = Math.max(0, ...charts.map(median)) || total;
  const span = charts.length ? (charts[0].canvas.clientWidth / 8) * usual : total;
  for (const chart of charts) chart.view = { from: 0, to: span > 0.5 * total ? total : Math.max(span, MIN_SPAN) };
  if (data.live) followAll(true);
  return api;
})();
