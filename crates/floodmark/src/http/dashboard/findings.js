// "What is wrong?": from what the page knows to plain findings, most urgent first.
//
// Pure: no page, no clock. A finding says what is the case, since when or how much, and what to do, and
// names the place on the page that shows more. Limits have names; none is a guess at what is normal for a
// pipeline, each is a point at which a person would want to know.

import { bytes, clock, count, counted, duration, isNumber, millis, near, percent, wholeSeconds } from './format.js';
import { reason } from './explain.js';
import { growth } from './store.js';

/** The watermark's distance from the clock beyond the configured delay, from which it is a finding. */
export const WATERMARK_WAITS_SECONDS = 15;
/** Time behind the newest record of the topic, from which lag is a finding. */
export const LAG_SECONDS = 15;
/** Share of a queue in use, and share of the time workers waited for it: from here an output is slow. */
export const QUEUE_FILL = 0.75;
export const BLOCKED_SHARE = 0.1;
/** A checkpoint older than so many intervals, and than so many seconds, is overdue. */
export const CHECKPOINT_INTERVALS = 3;
export const CHECKPOINT_AT_LEAST_SECONDS = 10;
/** Share of the memory limit in use. */
export const MEMORY_SHARE = 0.85;
/** Share of the records of the last minute that were refused or late: from here it is a warning. */
export const REFUSED_SHARE = 0.01;
/** How long a timestamp in the future, or a restart, stays more than a note. */
export const RECENT_SECONDS = 600;
export const RESTART_SECONDS = 60;

const ORDER = { problem: 0, warning: 1, note: 2 };

/**
 * `input`: status, before (of about 10 s ago), minuteAgo, connection, newest (samples by kind), since
 * (when the page first saw each id), restart. Any but `connection` may be null.
 */
export function findings(input) {
  const found = [...connection(input)];
  if (input.status) {
    found.push(...phase(input), ...sources(input), ...refused(input), ...outputs(input), ...late(input));
    found.push(...checkpoint(input), ...memory(input));
  }
  return found.sort((a, b) => ORDER[a.severity] - ORDER[b.severity]);
}

function finding(id, severity, target, title, detail, advice = '') {
  return { id, severity, target, title, detail, advice };
}

function* connection({ connection: line, status, restart }) {
  if (line.state === 'lost') {
    yield finding('connection', 'problem', 'top', 'Connection to Floodmark lost',
      `No news since ${clock(status?.now)}; what you see is from then. Attempt ${count(Math.max(1, line.attempts))} to reconnect.`,
      'If Floodmark was stopped, start it again: this page notices by itself.');
  }
  if (line.state === 'connecting' && line.attempts > 0) {
    yield finding('connection', 'problem', 'top', 'Floodmark does not answer',
      `Attempt ${count(line.attempts)} to connect.`, 'Check that it runs and that this is its address.');
  }
  if (restart && status && millis(status.now) - restart.at < RESTART_SECONDS * 1000) {
    yield finding('restart', 'note', 'top', 'Floodmark was restarted',
      `Another run answers since ${clock(restart.at)}${status.instance ? `, instance ${status.instance}` : ''}. It goes on from its checkpoint; rates and what is counted by run begin anew.`);
  }
}

function* phase({ status }) {
  if (status.failure) {
    yield finding('failed', 'problem', 'log', 'The pipeline has failed', status.failure,
      'Nothing half-done became visible. A restart goes on from the newest checkpoint.');
  } else if (status.phase === 'starting' || status.ready === false) {
    const waiting = status.waiting_for ?? [];
    yield finding('not-ready', status.phase === 'starting' ? 'note' : 'warning', 'log', 'Not ready yet',
      waiting.length > 0 ? `Waiting for: ${waiting.join('; ')}.` : 'The pipeline is starting.');
  }
  if (status.phase === 'draining') {
    yield finding('draining', 'note', 'checkpoints', 'Draining',
      'It was told to stop: it finishes what it has read, takes a last checkpoint and ends.');
  }
}

function* sources({ status, before, since }) {
  for (const [name, source] of Object.entries(status.sources ?? {})) {
    if (source.reachable === false) {
      const from = source.unreachable_since ?? since?.[`unreachable/${name}`] ?? status.now;
      yield finding(`unreachable/${name}`, 'problem', 'graph', `Source ${name}: the server does not answer`,
        `Not reachable since ${near(from, millis(status.now))}${source.trouble ? `: ${source.trouble}` : ''}.`,
        'Nothing is lost: Floodmark keeps trying and goes on where it stopped. Check that the brokers run and that this machine reaches them.');
    }
    yield* watermark(name, source, status);
    const earlierLag = before?.sources?.[name]?.lag_records;
    if (isNumber(source.lag_seconds) && source.lag_seconds > LAG_SECONDS) {
      const growing = isNumber(earlierLag) && source.lag_records > earlierLag;
      yield finding(`lag/${name}`, growing ? 'warning' : 'note', 'plots',
        `Source ${name} is ${duration(source.lag_seconds)} behind`,
        `${counted(source.lag_records, 'record')} not read yet, and the lag ${growing ? 'grows' : 'does not grow'}.`,
        growing ? 'More comes in than is processed. Look for an output that is slow; otherwise use more partitions and cores.' : '');
    }
  }
}

function* watermark(name, source, status) {
  const wait = source.event_time_lag_seconds;
  const over = isNumber(wait) ? wait - (source.watermark_delay_seconds ?? 0) : null;
  const held = source.held_back_by;
  const unknown = source.watermark === null && source.records > 0;
  if (!held || !(unknown || over > WATERMARK_WAITS_SECONDS)) return;
  const why = reason(held.reason);
  yield finding(`watermark/${name}`, held.reason === 'behind' ? 'note' : 'warning', 'watermark',
    `Watermark held back by partition ${held.partition} of ${name}`,
    `${isNumber(wait) ? `It is ${wholeSeconds(wait)} behind the clock (${near(source.watermark, millis(status.now))})` : 'It has no value yet'}. Partition ${held.partition} is ${why.name}: ${why.because}.`,
    why.advice);
}

function* refused({ status, minuteAgo, newest }) {
  for (const [name, source] of Object.entries(status.sources ?? {})) {
    const ledger = source.ledger ?? {};
    const total = (ledger.bad ?? 0) + (ledger.null_time ?? 0);
    if (total > 0) {
      const part = shareOf(status, minuteAgo, name, (l) => (l.bad ?? 0) + (l.null_time ?? 0));
      const last = newest?.dead_letter;
      const nullTimes = ledger.null_time > 0 ? ` ${count(ledger.null_time)} of them had no event time.` : '';
      yield finding(`refused/${name}`, part > REFUSED_SHARE ? 'warning' : 'note', 'letters',
        `${counted(total, 'record')} of ${name} refused`,
        `${last ? `Newest reason, at ${clock(last.at)}: ${String(last.row?.reason ?? 'not known').replaceAll('`', '’')}.` : 'Why is with the dead letters.'}${nullTimes}${part > 0 ? ` In the last minute: ${percent(part)} of what was read.` : ''}`,
        'Each is kept with its bytes and origin. Look at them, then mend the producer.');
    }
    yield* future(name, ledger, status, minuteAgo);
  }
}

function* future(name, ledger, status, minuteAgo) {
  if (!(ledger.future > 0)) return;
  const earlierCount = minuteAgo?.sources?.[name]?.ledger?.future;
  const recent = !minuteAgo || ledger.future > earlierCount || status.elapsed_seconds < RECENT_SECONDS;
  yield finding(`future/${name}`, recent ? 'warning' : 'note', 'watermark',
    `${counted(ledger.future, 'timestamp')} of ${name} too far in the future`,
    'A clock runs ahead by more than `max_future`. The rows were kept, but do not move the watermark: else all others would be late.',
    'Find the device by its rows and set its clock.');
}

/** The share of what was read since `before` that `pick` of the ledger counts; null if nothing was read. */
function shareOf(status, before, source, pick) {
  const to = status.sources[source]?.ledger;
  const from = before?.sources?.[source]?.ledger;
  if (!to || !from || !(to.read > from.read)) return null;
  return (pick(to) - pick(from)) / (to.read - from.read);
}

function* outputs({ status, before }) {
  for (const [name, output] of Object.entries(status.outputs ?? {})) {
    const { length, capacity } = output.queue ?? {};
    const fill = capacity > 0 ? length / capacity : 0;
    const blocked = growth(status, before, (at) => at.outputs?.[name]?.queue?.blocked_seconds);
    if (fill >= QUEUE_FILL || blocked > BLOCKED_SHARE) {
      const waits = blocked > 0 ? ` Workers waited for it ${percent(Math.min(1, blocked))} of the last seconds.` : '';
      yield finding(`slow/${name}`, 'warning', 'graph', `Output ${name} is slow`,
        `Its queue holds ${count(length)} of ${counted(capacity, 'batch', 'batches')}.${waits} So the source reads no faster than this output writes.`,
        'Look at its target: a slow disk, store or broker. Memory does not grow meanwhile.');
    }
    if (output.refused > 0) {
      yield finding(`refused-rows/${name}`, 'warning', 'outputs', `${counted(output.refused, 'row')} of ${name} refused by its target`,
        'They are too large for the topic, and went to the dead letters.', 'Raise the topic’s `max.message.bytes`, or select fewer columns.');
    }
  }
}

function* late({ status, minuteAgo }) {
  for (const [source, { ledger }] of Object.entries(status.sources ?? {})) {
    for (const [name, classes] of Object.entries(ledger?.outputs ?? {})) {
      const part = shareOf(status, minuteAgo, source, (l) => l.outputs?.[name]?.late ?? 0);
      if (!(classes.late > 0) || !(part > REFUSED_SHARE)) continue;
      yield finding(`late/${name}`, 'warning', 'late', `Many rows come too late for ${name}`,
        `${percent(part)} of the last minute’s records came after their window had fired; ${count(classes.late)} so far. They are kept as late rows.`,
        'A greater `delay` lets windows wait longer for them, and show later.');
    }
  }
}

function* checkpoint({ status, before }) {
  const { age_seconds: age, failed } = status.checkpoint ?? {};
  const interval = checkpointInterval(status.checkpoint);
  const limit = Math.max(CHECKPOINT_AT_LEAST_SECONDS, CHECKPOINT_INTERVALS * (interval ?? Infinity));
  if (isNumber(age) && age > limit && status.phase === 'running') {
    yield finding('checkpoint-old', 'problem', 'checkpoints', `The newest checkpoint is ${duration(age)} old`,
      `That is ${count(Math.floor(age / interval))} intervals of about ${wholeSeconds(interval)}. Until the next one, results of windows are not visible, and a restart would read again from there.`,
      'Look at the outputs and the checkpoint store: one of them does not finish.');
  }
  if (failed > 0) {
    const now = before && failed > (before.checkpoint?.failed ?? 0);
    yield finding('checkpoint-failed', now ? 'problem' : 'warning', 'checkpoints', `${counted(failed, 'checkpoint')} failed`,
      'The last good one stands.', 'The log below says why.');
  }
}

/** The interval as the status says it, or as the newest checkpoints show it (their median distance). */
export function checkpointInterval(checkpoint) {
  if (isNumber(checkpoint?.interval_seconds)) return checkpoint.interval_seconds;
  const times = (checkpoint?.recent ?? []).map((one) => millis(one.at)).filter(isNumber).sort((a, b) => a - b);
  const gaps = times.slice(1).map((time, at) => (time - times[at]) / 1000).sort((a, b) => a - b);
  return gaps.length > 0 ? gaps[Math.floor(gaps.length / 2)] : null;
}

function* memory({ status }) {
  const { resident_bytes: used, memory_limit_bytes: limit } = status.process ?? {};
  if (!(limit > 0) || !(used / limit > MEMORY_SHARE)) return;
  yield finding('memory', 'warning', 'plots', `Memory is near its limit: ${percent(used / limit)} in use`,
    `${bytes(used)} of ${bytes(limit)}; open windows hold ${bytes(status.state_bytes)} of it.`,
    'Window state grows with groups times open windows: shorter windows, fewer groups, or a higher limit.');
}
