// The ledger as a balance, per source and output: read = taken + filtered + late + bad + no event time.

import { attribute, h, keyed, share, text } from './dom.js';
import { count, isNumber, percent } from './format.js';

const CLASSES = [
  { key: 'taken', name: 'taken', does: 'went into the output' },
  { key: 'filtered', name: 'filtered', does: 'the query let it out' },
  { key: 'late', name: 'late', does: 'its window had fired' },
  { key: 'bad', name: 'bad', does: 'could not be read: a dead letter' },
  { key: 'null_time', name: 'no event time', does: 'a dead letter too' },
];

/** One output's balance: the records by class, and what is missing (0 when it balances). */
export function balance(ledger, output) {
  const of = { ...output, bad: ledger.bad, null_time: ledger.null_time };
  const parts = CLASSES.map((one) => ({ ...one, records: of[one.key] ?? 0 }));
  const sum = parts.reduce((total, one) => total + one.records, 0);
  return { read: ledger.read, parts, missing: isNumber(ledger.read) ? ledger.read - sum : null };
}

export function ledgerView(place) {
  return ({ status }) => {
    if (!status) return;
    const sources = Object.entries(status.sources ?? {}).filter(([, source]) => source.ledger);
    keyed(place, sources, ([name]) => name, ([name]) => create(name), (card, [name, source]) => update(card, name, source.ledger));
  };
}

function create(name) {
  const head = ['Output', 'Read', ...CLASSES.map((one) => one.name), 'Balance'];
  return h('div', { class: 'card', 'data-source': name },
    h('h3', {}, name, ' ', h('span', { class: 'quiet' }, 'source')),
    h('div', { class: 'balances' }),
    h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': `Ledger of ${name}` },
      h('table', { class: 'ledger' }, h('caption', { class: 'hide' }, `Ledger of ${name}, in records`),
        h('thead', {}, h('tr', {}, head.map((label, at) => {
          const one = CLASSES[at - 2];
          return h('th', { scope: 'col', class: at > 0 && at < head.length - 1 ? 'number' : null, title: one?.does },
            one ? h('span', { class: `key ${one.key}`, 'aria-hidden': 'true' }) : null, label);
        }))), h('tbody'))),
    h('p', { class: 'quiet future' }));
}

function update(card, name, ledger) {
  const outputs = Object.entries(ledger.outputs ?? {}).map(([output, classes]) => ({ output, ...balance(ledger, classes) }));
  keyed(card.querySelector('.balances'), outputs, (one) => one.output, createBar, updateBar);
  keyed(card.querySelector('tbody'), outputs, (one) => one.output, createRow, updateRow);
  text(card.querySelector('.future'), ledger.future > 0
    ? `${count(ledger.future)} of the records read have a timestamp too far in the future. They are counted above like any other; their time moved no watermark.` : '');
}

function createBar(one) {
  return h('div', { class: 'balance' }, h('span', { class: 'name' }, one.output),
    h('span', { class: 'stack', role: 'img' }, CLASSES.map(({ key }) => h('span', { class: `part ${key}` }))));
}

function updateBar(row, one) {
  const stack = row.querySelector('.stack');
  attribute(stack, 'aria-label', one.parts.map((part) => `${part.name} ${percent(one.read > 0 ? part.records / one.read : 0)}`).join(', '));
  one.parts.forEach((part, at) => {
    share(stack.children[at], one.read > 0 ? part.records / one.read : 0);
    attribute(stack.children[at], 'data-any', part.records > 0);
  });
}

function createRow(one) {
  return h('tr', { 'data-output': one.output }, h('th', { scope: 'row' }, one.output), h('td', { class: 'number read' }),
    CLASSES.map(({ key }) => h('td', { class: `number ${key}` })), h('td', { class: 'balances-or-not' }));
}

function updateRow(row, one) {
  text(row.querySelector('.read'), count(one.read));
  for (const part of one.parts) text(row.querySelector(`.${part.key}`), count(part.records));
  const cell = row.lastChild;
  text(cell, one.missing === 0 ? 'balances' : one.missing === null ? '–' : `${count(Math.abs(one.missing))} ${one.missing > 0 ? 'missing' : 'too many'}`);
  attribute(cell, 'data-ok', one.missing === 0 ? 'yes' : 'no');
}
