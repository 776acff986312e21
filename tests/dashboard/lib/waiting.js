// Waiting for states, never for time to pass.

import { setTimeout as sleep } from 'node:timers/promises';

/** What anything may take on a busy machine. */
export const PATIENCE_SECONDS = 90;
const LOOK_EVERY_MS = 50;

/** Calls `look` until it gives something truthy, and gives that; an error of `look` counts as "not yet". */
export async function waitUntil(what, look, seconds = PATIENCE_SECONDS) {
  const deadline = Date.now() + seconds * 1000;
  let last = null;
  while (Date.now() < deadline) {
    try {
      const found = await look();
      if (found) return found;
      last = found;
    } catch (error) {
      last = error;
    }
    await sleep(LOOK_EVERY_MS);
  }
  throw new Error(`waited ${seconds} s for: ${what}; last: ${last instanceof Error ? last.message : JSON.stringify(last)}`);
}
