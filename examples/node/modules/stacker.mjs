// Joins two stacks of a kind.

import { BACKPACK, FISH, GOLD, MEAT, slot } from "../game.mjs";

/** Returns the first two stacks of one kind that fit together. */
function pair({ backpack }) {
  for (const [first, { kind, count }] of backpack.entries()) {
    if (![FISH, MEAT, GOLD].includes(kind)) continue;
    const fits = (other, number) => number > first && other.kind === kind && other.count + count <= 100;
    const second = backpack.findIndex(fits);
    if (second >= 0) return { first, second, kind, count: backpack[second].count };
  }
}

/** Returns whether there is something to do. */
export const wants = (state) => pair(state) !== undefined;

/** Seconds of rest between two cycles. */
export const rest = [1.2, 2];

/** Plays one cycle, inside a turn. Returns `false` if nothing was sent. */
export async function cycle(game) {
  const found = pair(await game.look());
  if (!found) return false;
  const { first, second, kind, count } = found;
  await game.moveItem(slot(BACKPACK, second), kind, slot(BACKPACK, first), count);
  return true;
}
