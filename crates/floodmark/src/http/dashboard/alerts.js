// Rows that leave at once, as they come, and a spark line for each device that sends the most of them.

import { attribute, h, keyed, s, text } from './dom.js';
import { cell, clock, count, counted, duration, isNumber, perSecond } from './format.js';
import { columnsOf, isTime, series, valueColumns, whoColumns } from './rows.js';
import { sparkPath } from './scale.js';
import { earlier, growth, LITTLE_SECONDS } from './store.js';

/** Rows in the table, and devices with a spark line. */
const ROWS = 40;
const DEVICES = 8;
/** Order of devices changes no more often than this: what jumps cannot be read. */
const REORDER_MS = 2_000;
const SPARK = { width: 140, height: 28 };

export function alertsView(place) {
  return (state) => {
    if (!state.status) return;
    const outputs = (state.status.graph ?? []).filter((node) => node.kind === 'output' && !node.windowed);
    const items = outputs.length > 0 ? outputs : [null];
    keyed(place, items, (node) => node?.name ?? '',
      (node) => (node ? create(node) : h('p', { class: 'card quiet' }, 'Every output of this pipeline has windows.')),
      (card, node) => node && update(card, node, state));
  };
}

function create(node) {
  const choice = (name, words) => h('label', {}, `${words} `, h('select', { class: name }));
  const card = h('div', { class: 'card', 'data-output': node.name },
    h('h3', {}, node.name, ' ', h('span', { class: 'quiet target' }, node.target ?? '')),
    h('p', { class: 'stream-words' }),
    h('div', { class: 'stream' },
      h('div', { class: 'scroll tall', tabindex: '0', role: 'region', 'aria-label': `Newest rows of ${node.name}` },
        h('table', { class: 'rows' }, h('caption', { class: 'hide' }, `Newest rows of ${node.name}, newest first`), h('thead', {}, h('tr')), h('tbody'))),
      h('div', { class: 'devices' },
        h('div', { class: 'choices' }, choice('who', 'Lines by'), choice('value', 'of')),
        h('ol', { class: 'device-list' }))),
    h('p', { class: 'quiet none' }, 'No row has been let through since this page was opened.'));
  card.parts = { order: [], orderedAt: 0, columns: '' };
  return card;
}

function update(card, node, state) {
  const output = state.status.outputs?.[node.name] ?? {};
  const samples = state.samples.alert.items.filter((sample) => sample.output === node.name);
  const rows = samples.map((sample) => sample.row);
  const latency = output.latency;
  const skipped = state.skipped.get(node.name);
  text(card.querySelector('.stream-words'), [
    `${counted(output.rows, 'row')} committed; ${perSecond(growth(state.status, earlier(state, LITTLE_SECONDS), (at) => at.outputs?.[node.name]?.rows))} rows/s over the last minute.`,
    latency && isNumber(latency.p50_seconds) ? `From event time to committed: half within ${duration(latency.p50_seconds)}, 99 in 100 within ${duration(latency.p99_seconds)}.` : '',
    skipped ? `${count(skipped)} more were committed than could be shown.` : '',
  ].filter(Boolean).join(' '));
  attribute(card.querySelector('.none'), 'hidden', samples.length > 0);
  attribute(card.querySelector('.stream'), 'hidden', samples.length === 0);
  if (samples.length === 0) return;
  const columns = columnsOf(rows.slice(-ROWS));
  drawTable(card, samples.slice(-ROWS).reverse(), columns);
  drawDevices(card, samples, rows, columns);
}

function drawTable(card, samples, columns) {
  const numeric = new Set(valueColumns(samples.map((sample) => sample.row), columns));
  if (card.parts.columns !== columns.join('\n')) {
    card.parts.columns = columns.join('\n');
    card.querySelector('thead tr').replaceChildren(...['committed', ...columns].map((name) => h('th', { scope: 'col', class: numeric.has(name) ? 'number' : null }, name)));
    const body = card.querySelector('tbody');
    body.replaceChildren();
    body.keyedNodes = undefined;
  }
  keyed(card.querySelector('tbody'), samples, (sample) => `${sample.run}/${sample.seq}`, (sample) => h('tr', {},
    h('td', { class: 'time' }, clock(sample.at, { fraction: true })),
    columns.map((name) => {
      const value = sample.row?.[name];
      return h('td', { class: numeric.has(name) ? 'number' : isTime(value) ? 'time' : null, 'data-null': value === null || value === undefined },
        isTime(value) ? clock(value, { fraction: true }) : cell(value));
    })));
}

function drawDevices(card, samples, rows, columns) {
  const who = choose(card.querySelector('.who'), whoColumns(rows, columns));
  const value = choose(card.querySelector('.value'), valueColumns(rows, columns));
  attribute(card.querySelector('.devices'), 'hidden', !(who && value));
  if (!who || !value) return;
  let groups = series(samples, who, value, columns);
  const now = Date.now();
  const setting = `${who}\n${value}`;
  if (now - card.parts.orderedAt > REORDER_MS || setting !== card.parts.setting) {
    Object.assign(card.parts, { orderedAt: now, setting, order: groups.slice(0, DEVICES).map((group) => group.who) });
  }
  const rank = new Map(card.parts.order.map((name, at) => [name, at]));
  groups = groups.filter((group) => rank.has(group.who)).sort((a, b) => rank.get(a.who) - rank.get(b.who));
  keyed(card.querySelector('.device-list'), groups, (group) => `${setting}\n${group.who}`, createDevice, (item, group) => {
    text(item.querySelector('.number'), group.last === null ? '–' : String(group.last));
    text(item.querySelector('.quiet'), counted(group.rows, 'row'));
    attribute(item.querySelector('path'), 'd', group.points.length > 1 ? sparkPath(group.points.slice(-60), SPARK.width, SPARK.height, { margin: 3 }) : '');
    attribute(item.querySelector('svg'), 'aria-label', group.points.length === 0 ? 'no value' : `${group.points.length} values from ${Math.min(...group.points.map((one) => one.value))} to ${Math.max(...group.points.map((one) => one.value))}`);
  });
}

function createDevice(group) {
  return h('li', {}, h('span', { class: 'who', title: cell(group.who, 200) }, cell(group.who, 32)),
    s('svg', { class: 'spark', viewBox: `0 0 ${SPARK.width} ${SPARK.height}`, preserveAspectRatio: 'none', role: 'img' }, s('path')),
    h('span', { class: 'number' }), h('span', { class: 'quiet' }));
}

/** Keeps a list of choices up to date, and the reader's choice while it is among them. */
function choose(select, names) {
  keyed(select, names, (name) => name, (name) => h('option', { value: name }, name));
  if (!names.includes(select.value) && names.length > 0) select.value = names[0];
  return select.value || null;
}
