// Open windows filling up to their end, and those that have just fired.
//
// A bar is filled lightly up to the newest event, and fully up to the watermark; when that reaches the end,
// the window fires.

import { attribute, h, keyed, share, text } from './dom.js';
import { clock, count, counted, duration, isNumber, millis, wholeSeconds } from './format.js';
import { serverNow } from './store.js';

const MOST_OPEN = 12;
const MOST_FIRED = 8;
/** A window counts as just fired (and is drawn so) for this long. */
const FRESH_MS = 3_000;

export function windowsView(place) {
  return (state) => {
    if (!state.status) return;
    const outputs = (state.status.graph ?? []).filter((node) => node.windowed);
    const items = outputs.length > 0 ? outputs : [null];
    keyed(place, items, (node) => node?.name ?? '', (node) => (node ? create(node) : h('p', { class: 'card quiet' }, 'No output of this pipeline has windows.')),
      (card, node) => node && update(card, node, state));
  };
}

function create(node) {
  return h('div', { class: 'card' },
    h('h3', {}, node.name, ' ', h('span', { class: 'quiet' }, node.window_seconds ? `windows of ${duration(node.window_seconds)}` : 'windows')),
    h('div', { class: 'halves' },
      h('div', {}, h('h4', { class: 'open-title' }), h('ol', { class: 'windows open' }), h('p', { class: 'quiet more' })),
      h('div', {}, h('h4', { class: 'fired-title' }), h('ol', { class: 'windows fired' }), h('p', { class: 'quiet none' }, 'None since this page was opened.'))));
}

function update(card, node, state) {
  const output = state.status.outputs?.[node.name] ?? {};
  const { watermark, newest } = progressOf(node, state.status);
  const now = serverNow(state);
  const open = output.windows ?? [];
  text(card.querySelector('.open-title'), `Open: ${counted(output.open_windows ?? open.length, 'window')}, ${counted(output.open_groups, 'group')}`);
  keyed(card.querySelector('.open'), open.slice(0, MOST_OPEN), (one) => one.start, createOpen, (row, one) => updateOpen(row, one, watermark, newest));
  const more = (output.open_windows ?? 0) - Math.min(open.length, MOST_OPEN);
  text(card.querySelector('.more'), more > 0 ? `and ${count(more)} more` : open.length === 0 ? 'None: no row has come for a window that has not fired.' : '');
  const fired = state.samples.window.items.filter((one) => one.output === node.name).slice(-MOST_FIRED).reverse();
  text(card.querySelector('.fired-title'), `Fired: ${counted(output.fired_windows, 'window')}`);
  attribute(card.querySelector('.none'), 'hidden', fired.length > 0);
  keyed(card.querySelector('.fired'), fired, (one) => `${one.run}/${one.seq}`, createFired, (row, one) => {
    const age = (now - millis(one.at)) / 1000;
    attribute(row, 'data-fresh', age * 1000 < FRESH_MS);
    text(row.querySelector('.when'), `${wholeSeconds(Math.max(0, age))} ago`);
  });
}

/** How far the sources that an output reads are: the least watermark, which decides, and the newest event. */
export function progressOf(node, status) {
  const byId = new Map((status.graph ?? []).map((one) => [one.id, one]));
  const sources = new Set();
  const seen = new Set();
  const walk = (id) => {
    if (seen.has(id)) return;
    seen.add(id);
    const one = byId.get(id);
    if (one?.kind === 'source') sources.add(one.name);
    one?.reads.forEach(walk);
  };
  node.reads.forEach(walk);
  const read = [...sources].map((name) => status.sources?.[name]);
  const times = read.map((source) => millis(source?.watermark));
  const events = read.flatMap((source) => Object.values(source?.partitions ?? {})).map((one) => millis(one.max_event_time)).filter(isNumber);
  return {
    watermark: times.length > 0 && times.every(isNumber) ? Math.min(...times) : null,
    newest: events.length > 0 ? Math.max(...events) : null,
  };
}

function createOpen(one) {
  return h('li', {}, h('span', { class: 'times' }, interval(one)), h('span', { class: 'meter' }, h('span', { class: 'fill light' }), h('span', { class: 'fill reached' })),
    h('span', { class: 'holds' }), h('span', { class: 'when' }));
}

function updateOpen(row, one, watermark, newest) {
  const [start, end] = [millis(one.start), millis(one.end)];
  const part = (time) => (time === null ? 0 : (time - start) / (end - start));
  share(row.querySelector('.light'), part(newest));
  share(row.querySelector('.reached'), part(watermark));
  text(row.querySelector('.holds'), `${counted(one.groups, 'group')}, ${counted(one.rows, 'row')}`);
  const left = watermark === null ? null : (end - watermark) / 1000;
  text(row.querySelector('.when'), left === null ? 'waits for a watermark' : left > 0 ? `${wholeSeconds(left)} of event time to go` : 'fires now');
}

function createFired(one) {
  const row = one.row ?? {};
  return h('li', {}, h('span', { class: 'times' }, interval(row)),
    h('span', { class: 'holds' }, `${counted(row.groups, 'group')}, ${counted(row.rows, 'row')}`), h('span', { class: 'when' }));
}

function interval({ start, end }) {
  const seconds = (millis(start) / 1000) % 60 !== 0 || (millis(end) / 1000) % 60 !== 0;
  return `${clock(start, { seconds })} – ${clock(end, { seconds })}`;
}
