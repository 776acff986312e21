// Late rows: how many, for which output, and the newest of them with their origin.

import { attribute, h, keyed, text } from './dom.js';
import { cell, clock, counted } from './format.js';
import { columnsOf, isTime } from './rows.js';

const SHOWN = 30;

export function lateView(card) {
  const words = h('p', { class: 'count' });
  const head = h('tr');
  const body = h('tbody');
  const box = h('div', { class: 'scroll tall', tabindex: '0', role: 'region', 'aria-label': 'Newest late rows' },
    h('table', { class: 'rows' }, h('caption', { class: 'hide' }, 'Newest late rows, newest first'), h('thead', {}, head), body));
  card.append(words, box);
  let shape = '';

  return (state) => {
    if (!state.status) return;
    const samples = state.samples.late.latest(SHOWN);
    text(words, summary(state.status, samples.length));
    attribute(box, 'hidden', samples.length === 0);
    const columns = columnsOf(samples.map((sample) => sample.row));
    if (columns.join('\n') !== shape) {
      shape = columns.join('\n');
      head.replaceChildren(...['came at', ...columns].map((name) => h('th', { scope: 'col' }, name)));
      body.replaceChildren();
      body.keyedNodes = undefined;
    }
    keyed(body, samples, (sample) => `${sample.run}/${sample.seq}`, (sample) => h('tr', {}, h('td', { class: 'time' }, clock(sample.at)),
      columns.map((name) => {
        const value = sample.row?.[name];
        return h('td', { class: isTime(value) ? 'time' : null, 'data-null': value === null || value === undefined }, isTime(value) ? clock(value, { fraction: true }) : cell(value));
      })));
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
