// Checkpoints on a timeline: when, how long each took (height), how large; and the newest one's figures.

import { attributes, h, keyed, onWidth, s, text } from './dom.js';
import { bytes, clock, count, duration, isNumber, millis, wholeSeconds } from './format.js';
import { CHECKPOINT_INTERVALS, checkpointInterval } from './findings.js';
import { linear, span, ticks } from './scale.js';
import { serverNow } from './store.js';

const HEIGHT = 120;
const TOP = 18;
const BOTTOM = HEIGHT - 24;
const LISTED = 10;

export function checkpointsView(card) {
  const facts = h('dl', { class: 'pairs wide' });
  const svg = s('svg', { class: 'timeline', role: 'img' });
  const picture = h('div', { class: 'picture' }, svg);
  const body = h('tbody');
  const table = h('details', {}, h('summary', {}, `The last ${LISTED}, as a table`),
    h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'The last checkpoints' },
      h('table', {}, h('caption', { class: 'hide' }, 'The last checkpoints, newest first'),
        h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Number'), ['Done at', 'Took', 'Size'].map((name) => h('th', { scope: 'col', class: 'number' }, name)))), body)));
  card.append(facts, picture, table);
  let width = 0;
  let last = null;
  const redraw = () => last && width > 0 && drawTimeline(svg, last.status.checkpoint, width, serverNow(last));
  onWidth(picture, (now) => {
    width = now;
    redraw();
  });

  return (state) => {
    const checkpoint = state.status?.checkpoint;
    if (!checkpoint) return;
    last = state;
    keyed(facts, pairs(checkpoint), ([name]) => name, ([name]) => h('div', {}, h('dt', {}, name), h('dd')), (row, [, value]) => text(row.lastChild, value));
    redraw();
    const recent = [...(checkpoint.recent ?? [])].reverse().slice(0, LISTED);
    keyed(body, recent, (one) => one.epoch, (one) => h('tr', {}, h('th', { scope: 'row' }, count(one.epoch)),
      h('td', { class: 'number' }, clock(one.at)), h('td', { class: 'number' }, duration(one.seconds)), h('td', { class: 'number' }, bytes(one.bytes))));
  };
}

function pairs(checkpoint) {
  const interval = checkpointInterval(checkpoint);
  return [
    ['Newest', `number ${count(checkpoint.epoch)}, ${checkpoint.age_seconds === null ? 'none yet in this run' : `${wholeSeconds(checkpoint.age_seconds)} old`}`],
    ['Took', duration(checkpoint.last_seconds)],
    ['Size', bytes(checkpoint.last_bytes)],
    ['Interval', interval === null ? 'not known yet' : `about ${wholeSeconds(interval)}`],
    ['In this run', `${count(checkpoint.completed)} completed, ${count(checkpoint.failed)} failed`],
    ['Generation', `${count(checkpoint.generation)} (how often the pipeline was started or taken over)`],
  ];
}

function drawTimeline(svg, checkpoint, width, now) {
  const recent = (checkpoint.recent ?? []).map((one) => ({ ...one, time: millis(one.at) })).filter((one) => isNumber(one.time));
  const oldest = Math.min(now - 30_000, ...recent.map((one) => one.time));
  const seconds = Math.min(span(((now - oldest) / 1000) * 1.02), 3600);
  const from = now - seconds * 1000;
  const x = linear(from, now, 6, width - 10);
  const longest = Math.max(0.001, ...recent.map((one) => one.seconds));
  const shown = recent.filter((one) => one.time >= from);
  const { marks, seconds: step } = ticks(from, now, width < 560 ? 4 : 9);
  const interval = checkpointInterval(checkpoint);
  const overdue = interval !== null && checkpoint.age_seconds > CHECKPOINT_INTERVALS * interval;
  attributes(svg, { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, 'aria-label': `${shown.length} checkpoints in the last ${duration(seconds)}; the longest took ${duration(longest)}` });
  const gap = recent.length > 0 ? [x(Math.max(from, recent.at(-1).time)), x(now)] : [x(from), x(now)];
  keyed(svg, [
    ...marks.flatMap((at) => [
      { key: `g${at}`, tag: 'line', set: { class: 'grid', x1: x(at), x2: x(at), y1: TOP, y2: BOTTOM } },
      { key: `t${at}`, tag: 'text', set: { class: 'tick', x: x(at), y: HEIGHT - 6, 'text-anchor': 'middle' }, text: clock(at, { seconds: step < 60 }) },
    ]),
    { key: 'base', tag: 'line', set: { class: 'base', x1: 0, x2: width, y1: BOTTOM, y2: BOTTOM } },
    { key: 'age', tag: 'rect', set: { class: overdue ? 'age overdue' : 'age', x: gap[0], y: BOTTOM - 4, width: Math.max(0, gap[1] - gap[0]), height: 4 } },
    ...shown.map((one) => {
      const height = 6 + (one.seconds / longest) * (BOTTOM - TOP - 6);
      return { key: `c${one.epoch}`, tag: 'rect', set: { class: 'checkpoint', x: x(one.time) - 2.5, y: BOTTOM - height, width: 5, height, rx: 1.5 } };
    }),
    { key: 'most', tag: 'text', set: { class: 'tick', x: 6, y: 12 }, text: recent.length > 0 ? `tallest: ${duration(longest)}` : 'none yet in this run' },
  ], (one) => one.key, (one) => s(one.tag), (node, one) => {
    attributes(node, one.set);
    if (one.text !== undefined) text(node, one.text);
  });
}
