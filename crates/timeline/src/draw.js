// Colours, bars, marks and ticks. Charts and the legend share them.

// Outlines around (0, 0), six pixels each way, filled by the even-odd rule; and what the legend says.
const GLYPHS = {
  ok: ["M-2.6 0a2.6 2.6 0 1 0 5.2 0a2.6 2.6 0 1 0-5.2 0z", "action"],
  act_refused: ["M0-5.5 5.5 4.5-5.5 4.5z", "action refused"],
  wrong_item: ["M0-6.5 6.5 0 0 6.5-6.5 0z", "wrong item"],
  interleaved: ["M-5.5-3.2-3.2-5.5 0-2.3 3.2-5.5 5.5-3.2 2.3 0 5.5 3.2 3.2 5.5 0 2.3-3.2 5.5-5.5 3.2-2.3 0z", "action in another module's cycle"],
  timed_out: ["M-4.5-5.5H4.5L-4.5 5.5H4.5z", "timed out"],
  not_served: ["M-4-2.6-2.6-4 0-1.4 2.6-4 4-2.6 1.4 0 4 2.6 2.6 4 0 1.4-2.6 4-4 2.6-1.4 0z", "not served (refused, cancelled, withdrawn, closed), or declined"],
  lost: ["M-5-5H5V5H-5zM-2-2V2H2V-2z", "abandoned, lost"],
  revoked: ["M-5-5H5L-5 5z", "revoked"],
  panicked: ["M-1.7-6.5H1.7L1 2H-1zM-1.6 3.4H1.6V6.4H-1.6z", "panicked"],
  overrun: ["M-6-5H-3L1 0-3 5H-6L-2 0zM0-5H3L7 0 3 5H0L4 0z", "overrun"],
  starving: ["M-5.5 0a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0-11 0zM-2.6 0a2.6 2.6 0 1 0 5.2 0a2.6 2.6 0 1 0-5.2 0z", "starving"],
  conflict: ["M2-7-5 1H-.5L-2 7 5-1.5H.5z", "conflict"],
  short_gap: ["M-7-4.5-.8 0-7 4.5zM7-4.5.8 0 7 4.5z", "gap too short"],
  yielded: ["M-6 0 0-5V-2H5V2H0V5z", "yielded"],
  dropped: ["M-5.5 5.5-1.5-5.5H.5L-3.5 5.5zM-.5 5.5 3.5-5.5H5.5L1.5 5.5z", "events missed"],
  other: ["M-4-6H-2.6V6H-4zM-2.6-6 5-3-2.6 0z", "other events (pause, mode, …)"],
};
// Events that share a glyph with others.
const GLYPH_OF = { declined: "not_served", abandoned: "lost" };
const BARS = [["hold", "holds"], ["wait", "waits"], ["nested", "nested turn"], ["pass", "pass (observed)"], ["handover", "handover"], ["cycle", "actions of one cycle"]];
const PATHS = Object.fromEntries(Object.entries(GLYPHS).map(([name, [d]]) => [name, new Path2D(d)]));

const make = (tag, parent, text) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  parent?.append(node);
  return node;
};
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

// The style sheet's colours. They are read again when the theme changes.
const colours = {};
const patterns = new Map();

// Hatching at 45° for waits. The tile has the device's resolution, so that it stays sharp.
function hatch(ctx, colour) {
  if (!patterns.has(colour)) {
    const ratio = devicePixelRatio || 1, size = Math.round(5 * ratio);
    const tile = make("canvas");
    tile.width = tile.height = size;
    const c = tile.getContext("2d");
    c.globalAlpha = 0.2;
    c.fillStyle = colour;
    c.fillRect(0, 0, size, size);
    c.globalAlpha = 0.75;
    c.strokeStyle = colour;
    c.lineWidth = 1.1 * ratio;
    for (const shift of [-size, 0, size]) {
      c.beginPath();
      c.moveTo(shift, size);
      c.lineTo(shift + size, 0);
      c.stroke();
    }
    const pattern = ctx.createPattern(tile, "repeat");
    pattern.setTransform(new DOMMatrix().scale(size ? 5 / size : 1));
    patterns.set(colour, pattern);
  }
  return patterns.get(colour);
}
function bar(ctx, x, y, width, height, radius) {
  ctx.beginPath();
  ctx.roundRect(x, y, width, height, Math.min(radius, width / 2));
}
// Draws a bar of this kind from x to x2 around the line y.
function drawBar(ctx, kind, colour, x, x2, y) {
  const width = Math.max(x2 - x, 1.5);
  ctx.fillStyle = ctx.strokeStyle = colour;
  if (kind === "hold") {
    bar(ctx, x, y - 8, width, 16, 3);
    ctx.fill();
  } else if (kind === "nested") {
    ctx.fillStyle = colours.card;
    bar(ctx, x, y - 5, width, 10, 2);
    ctx.fill();
    ctx.fillStyle = colour;
    bar(ctx, x, y - 3.5, width, 7, 2);
    ctx.fill();
  } else if (kind === "wait") {
    // The taper shows where the wait began; the other end may be cut off or still open.
    const taper = Math.min(12, width);
    ctx.beginPath();
    ctx.moveTo(x, y);
    ctx.lineTo(x + taper, y - 4.5);
    ctx.lineTo(x + width, y - 4.5);
    ctx.lineTo(x + width, y + 4.5);
    ctx.lineTo(x + taper, y + 4.5);
    ctx.closePath();
    ctx.fillStyle = hatch(ctx, colour);
    ctx.fill();
  } else if (kind === "pass") {
    ctx.lineWidth = 1.5;
    ctx.setLineDash([4, 2.5]);
    bar(ctx, x + 0.75, y - 7.25, Math.max(width - 1.5, 1), 14.5, 3);
    ctx.stroke();
    ctx.setLineDash([]);
  } else if (kind === "cycle") {
    ctx.globalAlpha = 0.55;
    ctx.fillRect(x, y - 1, width, 2);
    ctx.globalAlpha = 1;
  }
}
// A halo sets the mark off from what is below it.
function drawGlyph(ctx, name, colour, x, y) {
  ctx.save();
  ctx.translate(x, y);
  ctx.lineJoin = "round";
  ctx.lineWidth = 3;
  ctx.strokeStyle = colours.card;
  if (name !== "ok") ctx.stroke(PATHS[name]);
  ctx.fillStyle = colour;
  ctx.fill(PATHS[name], "evenodd");
  ctx.restore();
}
function glyphOf({ name }) {
  // A log may call an event `constructor`.
  if (Object.hasOwn(PATHS, name)) return name;
  if (Object.hasOwn(GLYPH_OF, name)) return GLYPH_OF[name];
  return END_WAIT.has(name) ? "not_served" : "other";
}

function ticks(from, to, width) {
  const rough = (to - from) / Math.max(2, width / 90);
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = rough <= 1 || rough > 86400 ? [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough) : steps.find((n) => n >= rough);
  const out = [];
  for (let n = Math.ceil(from / step); n * step <= to && out.length < 100; n += 1) out.push(n * step);
  return { step, at: out };
}
