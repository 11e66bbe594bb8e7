// Moves what is in the corpse to the backpack, and throws old boots away.

import { BACKPACK, BOOT, CORPSE, FRONT, GROUND, slot } from "../game.mjs";

const withSlots = (items) => items.map((item, number) => ({ ...item, number }));

/** Returns what is in the corpse, unless it is about to decay; from the back, so that nothing in it shifts. */
const loot = ({ corpse }) => (corpse && corpse.leftMs > 3000 ? withSlots(corpse.items).slice(-5).reverse() : []);

const boots = ({ backpack }) => withSlots(backpack).filter(({ kind }) => kind === BOOT).slice(0, 2);

/** Returns whether there is something to do. */
export const wants = (state) => loot(state).length > 0 || boots(state).length > 0;

/** Seconds of rest between two cycles. */
export const rest = [3.5, 4.5];

/** Plays one cycle, inside a turn. Returns `false` if nothing was sent. */
export async function cycle(game) {
  const state = await game.look();
  const items = loot(state);
  for (const { number, kind, count } of items) await game.moveItem(slot(CORPSE, number), kind, FRONT, count);
  // What was looted lies in front of the boots now.
  const rubbish = boots(state).reverse();
  for (const { number } of rubbish) await game.moveItem(slot(BACKPACK, number + items.length), BOOT, GROUND);
  return items.length + rubbish.length > 0;
}
