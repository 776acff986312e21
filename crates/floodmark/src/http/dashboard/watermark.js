// Event time against the clock, per partition: the picture, a sentence that says what it means, a table.
//
//     partition 0  ████████████████████████▒▒▒●          |
//     partition 1  ████████████████▒▒▒●  holds it back   |
//     windows      [ 13:58 ][ 13:59 ]                    |
//                                  ^ watermark           ^ now
//
// Solid up to the partition's watermark, light for the delay up to its newest event. The water line is the
// source's watermark. Windows of the outputs lie on the same axis, so that one sees why they are open.

import { attribute, attributes, h, keyed, onWidth, prose, s, text } from './dom.js';
import { clock, count, counted, duration, isNumber, millis, near, wholeSeconds } from './format.js';
import { reason, standing } from './explain.js';
import { lanes, linear, span, ticks } from './scale.js';
import { serverNow } from './store.js';

/** Partitions drawn: of more, those that are least far. The table lists as many. */
const MOST_PARTITIONS = 16;
const MOST_WINDOW_LANES = 3;
const LANE = 30;
const TOP = 42;
const AXIS = 26;
const NARROW = 560;
/** Beyond the configured delay, from here the watermark counts as held back (drawn and said so). */
const HELD_BACK_SECONDS = 5;

export function watermarkView(place) {
  const cards = new Map();
  let last = null;
  const redraw = (name) => last && draw(cards.get(name), name, last);
  return (state) => {
    if (!state.status) return;
    last = state;
    keyed(place, Object.keys(state.status.sources ?? {}), (name) => name, (name) => {
      const card = create(name);
      cards.set(name, card);
      onWidth(card.picture, (width) => {
        card.width = width;
        redraw(name);
      });
      return card.root;
    });
    for (const name of Object.keys(state.status.sources ?? {})) draw(cards.get(name), name, state);
  };
}

function create(name) {
  const svg = s('svg', { class: 'event-time', role: 'img' });
  const picture = h('div', { class: 'picture' }, svg);
  const words = h('p', { class: 'verdict' });
  const advice = h('p', { class: 'advice' });
  const body = h('tbody');
  const head = ['Partition', 'Standing', 'Newest event', 'Watermark', 'Behind the clock', 'Not read yet', 'Next offset'];
  const table = h('table', {}, h('caption', { class: 'hide' }, `Partitions of ${name}`),
    h('thead', {}, h('tr', {}, head.map((label, at) => h('th', { scope: 'col', class: at > 1 ? 'number' : null }, label)))), body);
  const root = h('div', { class: 'card' }, h('h3', {}, name, ' ', h('span', { class: 'quiet' }, 'source')), words, advice, picture, legend(),
    h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': `Partitions of ${name}` }, table));
  return { root, svg, picture, words, advice, body, width: 0 };
}

function legend() {
  const item = (kind, words) => h('li', {}, h('span', { class: `key ${kind}`, 'aria-hidden': 'true' }), words);
  return h('ul', { class: 'legend' }, item('reached', 'up to the partition’s watermark'), item('delay', 'delay'),
    item('newest', 'newest event'), item('water', 'reached by the source’s watermark'), item('holder', 'holds it back'));
}

function draw(card, name, state) {
  const source = state.status.sources?.[name];
  if (!card || !source) return;
  const now = serverNow(state);
  const partitions = partitionsOf(source);
  prose(card.words, verdict(name, source, now));
  const advice = isHeldBack(source) ? reason(source.held_back_by.reason).advice : '';
  prose(card.advice, advice);
  attribute(card.advice, 'hidden', advice === '');
  if (card.width > 0) drawPicture(card, picture(name, source, partitions, state, now));
  drawTable(card.body, partitions, source, now);
}

/** Some partition always sets the watermark; it holds it back when that makes it wait. */
function isHeldBack(source) {
  return Boolean(source.held_back_by) && (source.watermark === null || source.event_time_lag_seconds > (source.watermark_delay_seconds ?? 0) + HELD_BACK_SECONDS);
}

function partitionsOf(source) {
  const lowest = String(source.held_back_by?.partition ?? '');
  const held = isHeldBack(source);
  const all = Object.entries(source.partitions ?? {}).map(([id, one]) => ({ id, ...one, sets: id === lowest, holds: held && id === lowest }));
  all.sort((a, b) => Number(a.id) - Number(b.id));
  if (all.length <= MOST_PARTITIONS) return all;
  const drawn = [...all].sort((a, b) => b.sets - a.sets || (millis(a.watermark) ?? 0) - (millis(b.watermark) ?? 0)).slice(0, MOST_PARTITIONS);
  return all.filter((one) => drawn.includes(one));
}

/** The picture in words. */
export function verdict(name, source, now) {
  const delay = duration(source.watermark_delay_seconds);
  const held = source.held_back_by;
  const idle = Object.values(source.partitions ?? {}).filter((one) => one.standing === 'idle').length;
  const all = Object.keys(source.partitions ?? {}).length;
  const parts = [];
  if (source.watermark === null || source.watermark === undefined) parts.push('There is no watermark yet: it needs an event time from each partition that counts.');
  else parts.push(`The watermark is ${near(source.watermark, now)}, ${wholeSeconds((now - millis(source.watermark)) / 1000)} behind the clock; ${delay} of that is the configured delay.`);
  if (isHeldBack(source)) parts.push(`Partition ${held.partition} holds it back (${reason(held.reason).name}): ${reason(held.reason).because}.`);
  else if (held) parts.push(`Partition ${held.partition} sets it: it is the least far.`);
  else if (all > 0 && idle === all) parts.push('Every partition is idle: open windows close by the idle clock.');
  if (idle > 0 && idle < all) parts.push(`${counted(idle, 'partition')} of ${count(all)} ${idle === 1 ? 'is' : 'are'} idle and ${idle === 1 ? 'does' : 'do'} not count.`);
  return parts.join(' ');
}

/** What the picture shows, without its pixels. */
function picture(name, source, partitions, state, now) {
  const windows = [];
  for (const node of state.status.graph ?? []) {
    if (!node.windowed) continue;
    const open = state.status.outputs?.[node.name]?.windows ?? [];
    const spans = open.map((one) => ({ ...one, from: millis(one.start), to: millis(one.end) })).filter((one) => isNumber(one.from) && isNumber(one.to));
    if (spans.length > 0) windows.push({ output: node.name, spans });
  }
  const marks = partitions.flatMap((one) => [millis(one.watermark), millis(one.max_event_time)])
    .concat(millis(source.watermark), windows.flatMap((one) => one.spans.map((span_) => span_.from))).filter(isNumber);
  const latest = Math.max(now, ...marks);
  const seconds = span(((latest - Math.min(now, ...marks)) / 1000) * 1.04);
  return { partitions, windows, now, watermark: millis(source.watermark), from: latest - seconds * 1000, to: latest + seconds * 15 };
}

function drawPicture(card, { partitions, windows, now, watermark, from, to }) {
  const narrow = card.width < NARROW;
  const left = narrow ? 30 : 104;
  const right = card.width - (narrow ? 8 : 14);
  const x = linear(from, to, left, right);
  const clip = (at) => Math.max(left, Math.min(right, x(at)));
  const rows = [];
  partitions.forEach((one, at) => rows.push(partitionRow(one, TOP + at * LANE, { left, right, clip, narrow })));
  let y = TOP + partitions.length * LANE + (windows.length > 0 ? 10 : 0);
  for (const { output, spans } of windows) {
    const lane = lanes(spans);
    const used = Math.min(MOST_WINDOW_LANES, Math.max(0, ...lane) + 1);
    rows.push(label(`w/${output}`, narrow ? '' : output, y + 19, left));
    spans.forEach((one, at) => {
      if (lane[at] < MOST_WINDOW_LANES && one.to > from) rows.push(windowBox(output, one, y + lane[at] * (LANE - 4) + 3, { clip, watermark }));
    });
    y += used * (LANE - 4) + 8;
  }
  const bottom = y + 4;
  attributes(card.svg, { width: card.width, height: bottom + AXIS, viewBox: `0 0 ${card.width} ${bottom + AXIS}`, 'aria-label': card.words.textContent });
  const back = [axis(from, to, x, bottom, { most: narrow ? 4 : 9, right })];
  if (watermark !== null) back.push({ key: 'water', tag: 'rect', set: { class: 'water', x: left, y: TOP - 6, width: Math.max(0, clip(watermark) - left), height: bottom - TOP + 6 } });
  const front = [];
  if (watermark !== null) front.push(...upright('watermark', clip(watermark), bottom, `watermark ${clock(watermark)}`, { left, right, side: 'left' }));
  front.push(...upright('now', clip(now), bottom, `now ${clock(now)}`, { left, right, side: clip(now) - (watermark === null ? left : clip(watermark)) < 200 ? 'up' : 'left' }));
  keyed(card.svg, [...back.flat(), ...rows.flat(), ...front], (one) => one.key, (one) => s(one.tag), (node, one) => {
    attributes(node, one.set);
    if (one.text !== undefined) text(node, one.text);
  });
}

function label(key, words, y, left) {
  return [{ key, tag: 'text', set: { class: 'lane', x: left - 10, y, 'text-anchor': 'end' }, text: words }];
}

function partitionRow(one, y, { left, right, clip, narrow }) {
  const middle = y + LANE / 2;
  const reached = millis(one.watermark);
  const newest = millis(one.max_event_time);
  const kind = `${one.holds ? ' holder' : ''}${one.standing === 'idle' || one.standing === 'ended' ? ' idle' : ''}`;
  const shapes = [
    ...label(`p/${one.id}`, narrow ? one.id : `partition ${one.id}`, middle + 4, left),
    { key: `t/${one.id}`, tag: 'line', set: { class: 'track', x1: left, x2: right, y1: middle, y2: middle } },
  ];
  if (reached !== null) shapes.push({ key: `r/${one.id}`, tag: 'rect', set: { class: `reached${kind}`, x: left, y: middle - 5, width: Math.max(0, clip(reached) - left), height: 10, rx: 2 } });
  if (reached !== null && newest !== null) shapes.push({ key: `d/${one.id}`, tag: 'rect', set: { class: `delay${kind}`, x: clip(reached), y: middle - 5, width: Math.max(0, clip(newest) - clip(reached)), height: 10 } });
  if (newest !== null) shapes.push({ key: `n/${one.id}`, tag: 'circle', set: { class: `newest${kind}`, cx: clip(newest), cy: middle, r: 5 } });
  const note = one.holds ? 'holds it back' : one.standing === 'idle' ? 'idle' : one.sets && !narrow ? 'sets the watermark' : '';
  const at = newest === null ? left : clip(newest);
  const fits = at + 126 < right;
  shapes.push({ key: `h/${one.id}`, tag: 'text', set: { class: `note${kind}`, x: fits ? at + 11 : at - 12, y: middle + (fits ? 4 : -8), 'text-anchor': fits ? 'start' : 'end' }, text: note });
  return shapes;
}

function windowBox(output, one, y, { clip, watermark }) {
  const [a, b] = [clip(one.from), clip(one.to)];
  const key = `${output}/${one.start}`;
  const filled = watermark === null ? a : Math.max(a, Math.min(b, clip(watermark)));
  const words = `${clock(one.from, { seconds: (one.from / 1000) % 60 !== 0 })}`;
  return [
    { key: `b/${key}`, tag: 'rect', set: { class: 'window', x: a + 1, y, width: Math.max(1, b - a - 2), height: LANE - 10, rx: 3 } },
    { key: `f/${key}`, tag: 'rect', set: { class: 'window-reached', x: a + 1, y, width: Math.max(0, filled - a - 1), height: LANE - 10, rx: 3 } },
    { key: `x/${key}`, tag: 'text', set: { class: 'window-name', x: a + 7, y: y + 14 }, text: b - a > 44 ? words : '' },
  ];
}

function axis(from, to, x, y, { most, right }) {
  const { marks, seconds } = ticks(from, to, most);
  return marks.flatMap((at) => [
    { key: `g/${at}`, tag: 'line', set: { class: 'grid', x1: x(at), x2: x(at), y1: TOP - 6, y2: y + 4 } },
    { key: `a/${at}`, tag: 'text', set: { class: 'tick', x: Math.min(x(at), right), y: y + 19, 'text-anchor': x(at) > right - 28 ? 'end' : 'middle' }, text: clock(at, { seconds: seconds < 60 }) },
  ]);
}

/** A line through all lanes with its name on top; `side: up` when the other's name is too near. */
function upright(kind, at, bottom, words, { left, right, side }) {
  const end = side === 'left' || at > right - 60;
  const tooFar = end && at - left < 130;
  return [
    { key: `${kind}-line`, tag: 'line', set: { class: `upright ${kind}`, x1: at, x2: at, y1: side === 'up' ? 16 : TOP - 14, y2: bottom } },
    { key: `${kind}-name`, tag: 'text', set: { class: `upright-name ${kind}`, x: tooFar ? at + 6 : at - (side === 'up' ? 0 : 6), y: side === 'up' ? 12 : TOP - 12, 'text-anchor': tooFar ? 'start' : 'end' }, text: words },
  ];
}

function drawTable(body, partitions, source, now) {
  keyed(body, partitions, (one) => one.id, (one) => h('tr', {}, h('th', { scope: 'row' }, one.id), h('td', {}, h('span', { class: 'pill small' })), ['newest', 'watermark', 'behind', 'lag', 'offset'].map((name) => h('td', { class: `number ${name}` }))), (row, one) => {
    const how = standing(one.standing);
    const pill = row.querySelector('.pill');
    text(pill, one.holds ? `holds it back: ${reason(source.held_back_by.reason).name}` : one.sets ? 'sets the watermark' : how.name);
    attribute(pill, 'title', (one.holds ? reason(source.held_back_by.reason).because : how.because).replaceAll('`', ''));
    attribute(pill, 'data-standing', one.holds ? 'holder' : one.standing);
    text(row.querySelector('.newest'), near(one.max_event_time, now));
    text(row.querySelector('.watermark'), near(one.watermark, now));
    text(row.querySelector('.behind'), one.watermark ? wholeSeconds((now - millis(one.watermark)) / 1000) : '–');
    text(row.querySelector('.lag'), counted(one.lag_records, 'record'));
    text(row.querySelector('.offset'), count(one.next_offset));
  });
}
