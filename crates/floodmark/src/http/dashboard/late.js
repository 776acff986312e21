// Late rows: how many, for which output, and the newest of them with their window and origin.

import { attribute, h, keyed, text } from './dom.js';
import { cell, clock, count, counted } from './format.js';

const SHOWN = 30;
/** Of a row, as JSON on one line. */
const ROW_CHARACTERS = 160;

/** What a late row says of itself, in the order in which one asks: which window, how late, from where, what. */
const COLUMNS = [
  { name: 'came at', of: (sample) => clock(sample.at), class: 'time' },
  { name: 'event time', of: ({ row }) => clock(row.event_time, { fraction: true }), class: 'time' },
  { name: 'window', of: ({ row }) => `${clock(row.window_start)} – ${clock(row.window_end)}`, class: 'time' },
  { name: 'output', of: ({ row }) => cell(row.output) },
  { name: 'topic', of: ({ row }) => cell(row.topic) },
  { name: 'partition', of: ({ row }) => count(row.partition), class: 'number' },
  { name: 'offset', of: ({ row }) => count(row.offset), class: 'number' },
  { name: 'row', of: ({ row }) => cell(row.row, ROW_CHARACTERS) },
];

export function lateView(card) {
  const words = h('p', { class: 'count' });
  const head = h('tr', {}, COLUMNS.map((one) => h('th', { scope: 'col', class: one.class }, one.name)));
  const body = h('tbody');
  const box = h('div', { class: 'scroll tall', tabindex: '0', role: 'region', 'aria-label': 'Newest late rows' },
    h('table', {}, h('caption', { class: 'hide' }, 'Newest late rows, newest first'), h('thead', {}, head), body));
  card.append(words, box);

  return (state) => {
    if (!state.status) return;
    const samples = state.samples.late.latest(SHOWN);
    text(words, summary(state.status, samples.length));
    attribute(box, 'hidden', samples.length === 0);
    keyed(body, samples, (sample) => `${sample.run}/${sample.seq}`,
      (sample) => h('tr', {}, COLUMNS.map((one) => h('td', { class: one.class }, one.of(sample)))));
  };
}

function summary(status, shown) {
  const byOutput = new Map();
  for (const source of Object.values(status.sources ?? {})) {
    for (const [name, classes] of Object.entries(source.ledger?.outputs ?? {})) byOutput.set(name, (byOutput.get(name) ?? 0) + classes.late);
  }
  const late = [...byOutput].filter(([, rows]) => rows > 0).map(([name, rows]) => `${counted(rows, 'row')} for ${name}`);
  const kept = status.late === null ? ' This pipeline only counts them.' : '';
  if (late.length === 0) return `None so far.${kept}`;
  return `Too late: ${late.join(', ')}.${kept || (shown > 0 ? ' The newest:' : '')}`;
}
