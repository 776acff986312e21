// Words for somebody who sees event time for the first time: why a watermark waits, and what to do.
//
// Pure. The reasons are those of `held_back_by` in /api/status, the standings those of its partitions.

/** Why a partition holds the watermark back: what it means, and what helps. */
const REASONS = {
  slow: {
    name: 'slow',
    because: 'its events are older than those of the other partitions, so the others wait for it',
    advice: 'Nothing is lost. If it does not catch up, look at what writes to this partition: a delayed producer, or a device whose clock runs behind.',
  },
  behind: {
    name: 'behind',
    because: 'it still has records that have not been read, and older events may be among them',
    advice: 'Floodmark is catching up; the lag should fall. If it grows, look for an output whose queue is full, or give the topic more partitions and the machine more cores.',
  },
  empty: {
    name: 'empty',
    because: 'no event with a usable time has come from it yet, so nobody knows how far it is',
    advice: 'It stops counting once it has been silent for `idle_after`. If it stays empty for good, the topic has more partitions than its producers use.',
  },
  silent: {
    name: 'silent',
    because: 'it has sent nothing lately, but not for long enough to count as idle',
    advice: 'Wait: after `idle_after` without an event it counts as idle and the watermark goes on. For partitions that are often quiet choose a shorter `idle_after`.',
  },
  unreachable: {
    name: 'unreachable',
    because: 'the server does not answer, so nobody knows whether older events wait there',
    advice: 'The watermark goes on by itself once the server answers. Check that the brokers run and that this machine reaches them.',
  },
  future: {
    name: 'timestamp in the future',
    because: 'its newest event time is further ahead of the clock than `max_future`, and such a time does not move the watermark',
    advice: 'The row itself was kept. Find the device and set its clock; until then only its other events count.',
  },
};

const OTHER = {
  name: 'held back',
  because: 'its watermark is the lowest of all partitions that count',
  advice: 'Look at the partition in the table below the picture.',
};

export function reason(name) {
  return REASONS[name] ?? OTHER;
}

/** What a partition's standing means. */
export function standing(name) {
  switch (name) {
    case 'active': return { name: 'counts', because: 'it takes part: the watermark waits for it' };
    case 'idle': return { name: 'idle', because: 'silent for `idle_after`: it does not hold the watermark back' };
    case 'ended': return { name: 'ended', because: 'read to its end for good: it does not hold the watermark back' };
    case 'waiting': return { name: 'waiting', because: 'nothing has come from it yet: the watermark waits for it' };
    default: return { name: String(name ?? 'not known'), because: '' };
  }
}

/** What each kind of part does with an event. */
export const KINDS = {
  source: { name: 'Source', does: 'Reads records and turns each into a row. A record that is no row goes to the dead letters.' },
  view: { name: 'View', does: 'A named query. Outputs read from it as from a table; nothing is stored.' },
  windowed: { name: 'Output with windows', does: 'Collects rows in windows of event time. A window fires once the watermark has reached its end; its rows show when the next checkpoint is durable.' },
  stateless: { name: 'Output, row by row', does: 'Looks at one row at a time. What its query lets through leaves at once.' },
  dead_letter: { name: 'Dead letters', does: 'Records that could not be read, with their bytes, origin and reason.' },
  late: { name: 'Late rows', does: 'Rows whose window had fired before they came. They are kept here, with their origin.' },
};

export function kindOf(node) {
  if (node.kind === 'output') return node.windowed ? KINDS.windowed : KINDS.stateless;
  return KINDS[node.kind] ?? { name: node.kind, does: '' };
}
