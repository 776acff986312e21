// The line to Floodmark: server-sent events, and what to do when they stop.
//
//   connecting ─> live ─> lost ─> live …
//
// The browser reconnects an event stream by itself after a broken connection, and tells the server the
// last event that it has seen. It gives up when the answer is an error (503: too many clients, or a proxy
// in between), and it does not notice a line on which nothing comes any more: both are done here. When
// another run answers, the stream is opened anew, because the last event seen was the old one's.

/** The server sends a status each second; after so long without one the line counts as lost. */
const SILENCE_MS = 4_000;
/** Waits between attempts when the browser has given up: doubled each time up to the last. */
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 10_000;
/** Samples asked for when a stream begins, for what happened before the page was opened. */
const BACKLOG = { alert: 200, dead_letter: 100, late: 100, window: 60, checkpoint: 60, log: 100 };

const address = (path) => new URL(path, document.baseURI);

export function connect(store) {
  let stream = null;
  let lastHeard = 0;
  let opened = 0;
  let attempts = 0;
  let retry = null;

  function open() {
    clearTimeout(retry);
    retry = null;
    stream?.close();
    opened = Date.now();
    stream = new EventSource(address('api/events'));
    stream.addEventListener('status', (event) => takeStatus(parse(event.data)));
    stream.addEventListener('sample', (event) => {
      const sample = parse(event.data);
      if (sample) store.applySample(sample);
    });
    stream.addEventListener('error', lost);
  }

  function takeStatus(status) {
    if (!status) return;
    lastHeard = Date.now();
    const first = store.state.status === null;
    const restarted = store.applyStatus(status);
    if (store.state.connection.state !== 'live') {
      attempts = 0;
      store.setConnection({ state: 'live', attempts });
    }
    if (restarted) open();
    if (restarted || first) void fetchBacklog();
  }

  function lost() {
    attempts += 1;
    store.setConnection({ state: store.state.status ? 'lost' : 'connecting', attempts });
    if (stream.readyState !== EventSource.CLOSED || retry !== null) return;
    retry = setTimeout(open, Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(attempts, 8)));
  }

  function watch() {
    const heard = Math.max(lastHeard, opened);
    if (Date.now() - heard <= SILENCE_MS || retry !== null) return;
    lost();
    // A stream that is open and says nothing is dead; one that is being opened is the browser's to open.
    if (stream.readyState === EventSource.OPEN) open();
    opened = Date.now();
  }

  open();
  setInterval(watch, 1_000);

  /** What was sampled before the stream began, oldest first. What came meanwhile stays in its order. */
  async function fetchBacklog() {
    await Promise.all(Object.entries(BACKLOG).map(async ([kind, limit]) => {
      try {
        const answer = await fetch(address(`api/samples?kind=${kind}&limit=${limit}`));
        if (!answer.ok) return;
        const body = await answer.json();
        store.applyBacklog(kind, Array.isArray(body) ? body : body.samples ?? []);
      } catch {
        // The line broke again; the next attempt asks anew.
      }
    }));
  }
}

function parse(data) {
  try {
    return JSON.parse(data);
  } catch {
    return null;
  }
}
