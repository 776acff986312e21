// Warnings and errors of the run, newest first.

import { attribute, h, keyed } from './dom.js';
import { cell, clock } from './format.js';

const SHOWN = 50;

export function logView(card) {
  const none = h('p', { class: 'quiet' }, 'No warning and no error so far.');
  const list = h('ol', { class: 'log' });
  const box = h('div', { class: 'scroll tall', tabindex: '0', role: 'region', 'aria-label': 'Newest lines of the log' }, list);
  card.append(none, box);
  return (state) => {
    const lines = state.samples.log.latest(SHOWN);
    attribute(none, 'hidden', lines.length > 0);
    attribute(box, 'hidden', lines.length === 0);
    keyed(list, lines, (line) => `${line.run}/${line.seq}`, (line) => {
      const { level, message, fields } = line.row ?? {};
      return h('li', { 'data-level': String(level ?? '').toLowerCase() }, h('span', { class: 'time' }, clock(line.at)),
        h('span', { class: 'level' }, String(level ?? '').toLowerCase()),
        h('span', { class: 'message' }, cell(message, 600),
          Object.entries(fields ?? {}).map(([name, value]) => h('span', { class: 'field' }, ` ${name}=${cell(value, 300)}`))));
    });
  };
}
