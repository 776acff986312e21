// What the page knows: the newest status, what was sampled, a short history, how the connection stands.
//
//   connection ─> apply… ─> state ─> mark(topic) ─> frame ─> views
//
// Promises: memory is bounded whatever comes in; a sample is taken once, also when a reconnect repeats it;
// after a restart of Floodmark (another run) figures that began anew are not compared with older ones. The store never touches the page, and views never change the store.

import { isNumber, millis } from './format.js';
import { History, Ring } from './ring.js';

/** Samples kept of each kind. */
const SAMPLES = { alert: 500, dead_letter: 200, late: 200, window: 200, checkpoint: 60, log: 200 };
/** Seconds of history in the plots. */
export const HISTORY_SECONDS = 900;
/** Rates of what may be little, as alerts, are taken over so long: over two seconds there are none or many. */
export const LITTLE_SECONDS = 60;
/** Statuses kept to compare the newest with. */
const STATUSES = 75;

export function createStore(mark = () => {}, now = () => Date.now()) {
  const state = {
    status: null,
    /** Wall clock of the browser when the newest status came. */
    receivedAt: null,
    statuses: new Ring(STATUSES),
    samples: Object.fromEntries(Object.entries(SAMPLES).map(([kind, limit]) => [kind, new Ring(limit)])),
    /** Samples that the server counted but did not send, by output. */
    skipped: new Map(),
    history: new History(HISTORY_SECONDS),
    connection: { state: 'connecting', since: now(), attempts: 0 },
    /** When the page last saw that another run answers: {at}. */
    restart: null,
    paused: false,
  };
  const newestSequence = new Map();

  return {
    state,

    /** Takes a status in. True if it is another run's than the one before. */
    applyStatus(status) {
      const before = state.status;
      const restarted = before !== null && runOf(before) !== runOf(status);
      if (restarted) {
        state.restart = { at: millis(status.now) };
        state.statuses = new Ring(STATUSES);
        newestSequence.clear();
      }
      state.status = status;
      state.receivedAt = now();
      state.statuses.push(status);
      state.history.push(millis(status.now) / 1000, figures(status, earlier(state, 5)));
      mark('status');
      return restarted;
    },

    /** Takes a sample in, unless it was there before. */
    applySample(sample) {
      const ring = state.samples[sample.kind];
      if (!ring || !isNumber(sample.seq)) return;
      if (sample.seq <= (newestSequence.get(sample.kind) ?? -1)) return;
      newestSequence.set(sample.kind, sample.seq);
      ring.push({ ...sample, row: rowOf(sample), run: runOf(state.status) });
      if (sample.skipped) {
        const output = sample.output ?? '';
        state.skipped.set(output, (state.skipped.get(output) ?? 0) + sample.skipped);
      }
      mark(sample.kind);
    },

    /** Takes in what this run had sampled before the stream began; what is there already stays. */
    applyBacklog(kind, backlog) {
      const ring = state.samples[kind];
      const run = runOf(state.status);
      const known = new Map();
      for (const sample of backlog) if (isNumber(sample?.seq)) known.set(sample.seq, { ...sample, row: rowOf(sample), kind, run });
      for (const sample of ring.items) if (sample.run === run) known.set(sample.seq, sample);
      const merged = [...known.values()].sort((a, b) => a.seq - b.seq);
      ring.items = [...ring.items.filter((sample) => sample.run !== run), ...merged].slice(-ring.limit);
      newestSequence.set(kind, Math.max(newestSequence.get(kind) ?? -1, merged.at(-1)?.seq ?? -1));
      mark(kind);
    },

    setConnection(connection) {
      const changed = connection.state !== state.connection.state;
      state.connection = { ...state.connection, ...connection, since: changed ? now() : state.connection.since };
      mark('connection');
    },

    setPaused(paused) {
      state.paused = paused;
      mark('pause');
    },
  };
}

/** What tells one run from the next. An instance's name is not known before it has the pipeline. */
const runOf = (status) => status?.started_at ?? null;

/** A row that was too large to be sent comes as its first part, as text. */
const rowOf = ({ row }) => (row !== null && typeof row === 'object' ? row : { row });

/** The server's clock now: its newest `now`, moved on by the browser's clock. */
export function serverNow(state, browserNow = Date.now()) {
  if (!state.status) return browserNow;
  const lost = state.connection.state !== 'live';
  return millis(state.status.now) + (lost ? 0 : Math.min(5_000, Math.max(0, browserNow - state.receivedAt)));
}

/** The status of `seconds` ago, or the oldest of this run; null if there is only the newest. */
export function earlier(state, seconds) {
  const items = state.statuses.items;
  if (items.length < 2) return null;
  const wanted = millis(items.at(-1).now) - seconds * 1000;
  for (let at = items.length - 2; at >= 0; at -= 1) {
    if (millis(items[at].now) <= wanted) return items[at];
  }
  return items[0];
}

/** How much `pick` of the status has grown a second since `before`; null if that is not known. */
export function growth(status, before, pick) {
  if (!status || !before) return null;
  const seconds = (millis(status.now) - millis(before.now)) / 1000;
  const to = pick(status);
  const from = pick(before);
  return seconds > 0 && isNumber(to) && isNumber(from) ? Math.max(0, to - from) / seconds : null;
}

/** One point of the history. */
function figures(status, before) {
  const point = {};
  for (const [name, source] of Object.entries(status.sources ?? {})) {
    point[`source/${name}/rate`] = source.records_per_second;
    point[`source/${name}/lag`] = source.lag_records;
    point[`source/${name}/watermark`] = source.event_time_lag_seconds;
  }
  for (const [name, output] of Object.entries(status.outputs ?? {})) {
    point[`output/${name}/rate`] = output.rows_per_second;
    point[`output/${name}/p50`] = output.latency?.p50_seconds;
    point[`output/${name}/p99`] = output.latency?.p99_seconds;
  }
  point['process/resident'] = status.process?.resident_bytes;
  point['process/state'] = status.state_bytes;
  point['process/cpu'] = growth(status, before, (at) => at.process?.cpu_seconds);
  for (const name of Object.keys(status.process?.stages ?? {})) {
    point[`stage/${name}/cpu`] = growth(status, before, (at) => at.process?.stages?.[name]);
  }
  return point;
}
