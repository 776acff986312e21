// When the page is drawn: views are called at most once a frame, and each no more often than it asks for.
//
// Hundreds of samples a second mark a topic hundreds of times; its views draw once. While the page is
// hidden the browser calls no frame, so nothing is drawn and nothing piles up. While the reader has
// paused the page, only views that say `always` draw.

export function createFrame(state, { request = (call) => requestAnimationFrame(call), now = () => performance.now() } = {}) {
  const views = [];
  let requested = false;

  function ask() {
    if (requested) return;
    requested = true;
    request(draw);
  }

  function draw() {
    requested = false;
    const time = now();
    let waiting = Infinity;
    for (const view of views) {
      if (!view.dirty || (state.paused && !view.always)) continue;
      const left = view.last + view.everyMs - time;
      if (left > 0) {
        waiting = Math.min(waiting, left);
        continue;
      }
      view.dirty = false;
      view.last = time;
      view.update(state);
    }
    if (waiting < Infinity) setTimeout(ask, waiting);
  }

  return {
    /** Calls `update(state)` after one of `topics` was marked. */
    add(topics, update, { everyMs = 0, always = false } = {}) {
      views.push({ topics: new Set(topics), update, everyMs, always, last: -Infinity, dirty: true });
      ask();
    },
    mark(topic) {
      for (const view of views) if (view.topics.has(topic)) view.dirty = true;
      ask();
    },
    markAll() {
      for (const view of views) view.dirty = true;
      ask();
    },
  };
}
