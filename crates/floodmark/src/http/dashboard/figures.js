// The key figures: what a glance should tell, each with its unit and a line of the last minutes.

import { attribute, h, keyed, s, text } from './dom.js';
import { bytes, compact, count, duration, isNumber, percent, perSecond, wholeSeconds } from './format.js';
import { GAP_SECONDS } from './ring.js';
import { sparkPath } from './scale.js';
import { earlier, growth, LITTLE_SECONDS } from './store.js';

const WIDTH = 120;
const HEIGHT = 26;
const POINTS = 180;

export function figuresView(place) {
  return (state) => {
    if (!state.status) return;
    keyed(place, figures(state.status, earlier(state, LITTLE_SECONDS)), (one) => one.id, create, (node, one) => {
      text(node.querySelector('dt'), one.name);
      text(node.querySelector('.number'), one.value);
      text(node.querySelector('.unit'), one.unit);
      text(node.querySelector('.aside'), one.aside);
      attribute(node.querySelector('path'), 'd', spark(state.history, one.columns));
    });
  };
}

function create(one) {
  return h('div', { class: 'figure', 'data-figure': one.id },
    h('dt'),
    h('dd', {}, h('span', { class: 'number' }), '\u00a0', h('span', { class: 'unit' }),
      s('svg', { class: 'spark', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' }, s('path')),
      h('span', { class: 'aside' })));
}

function figures(status, before) {
  const sources = Object.entries(status.sources ?? {});
  const outputs = Object.entries(status.outputs ?? {});
  const windowed = new Set(status.graph?.filter((node) => node.windowed).map((node) => node.name));
  const alerts = outputs.filter(([name]) => !windowed.has(name));
  // The sum of what is known; null if nothing is.
  const sum = (entries, pick) => entries.map(([, one]) => pick(one)).filter(isNumber).reduce((total, one) => (total ?? 0) + one, null);
  const { checkpoint, process } = status;
  const list = [
    {
      id: 'records', name: 'Read', value: perSecond(sum(sources, (one) => one.records_per_second)), unit: 'records/s',
      aside: `${compact(sum(sources, (one) => one.records))} in this run, ${bytes(sum(sources, (one) => one.bytes))}`,
      columns: sources.map(([name]) => `source/${name}/rate`),
    },
    {
      id: 'lag', name: 'Not read yet', value: compact(sum(sources, (one) => one.lag_records)), unit: 'records',
      aside: sources.some(([, one]) => one.reachable === false)
        ? 'when the server last answered'
        : `${duration(most(sources, (one) => one.lag_seconds))} behind the newest`,
      columns: sources.map(([name]) => `source/${name}/lag`),
    },
    {
      id: 'watermark', name: 'Watermark', ...split(wholeSeconds(most(sources, (one) => one.event_time_lag_seconds))),
      aside: 'behind the clock', columns: sources.map(([name]) => `source/${name}/watermark`),
    },
  ];
  if (alerts.length > 0) {
    const p99 = most(alerts, (one) => one.latency?.p99_seconds);
    list.push({
      id: 'alerts', name: 'Rows sent at once', value: perSecond(growth(status, before, (at) => sum(alerts.map(([name]) => [name, at.outputs?.[name]]), (one) => one?.rows))), unit: 'rows/s',
      aside: p99 !== null ? `99 in 100 within ${duration(p99)}` : `${count(sum(alerts, (one) => one.rows))} so far`,
      columns: alerts.map(([name]) => `output/${name}/rate`),
    });
  }
  list.push(
    {
      id: 'checkpoint', name: 'Checkpoint', ...split(wholeSeconds(checkpoint?.age_seconds)),
      aside: `old; number ${count(checkpoint?.epoch)}, took ${duration(checkpoint?.last_seconds)}`, columns: [],
    },
    {
      id: 'memory', name: 'Memory', ...split(bytes(process?.resident_bytes)),
      aside: process?.memory_limit_bytes ? `${percent(process.resident_bytes / process.memory_limit_bytes)} of its limit` : `${bytes(status.state_bytes)} of it open windows`,
      columns: ['process/resident'],
    },
  );
  return list;
}

/** The greatest of what is known, or null. */
function most(entries, pick) {
  const values = entries.map(([, one]) => pick(one)).filter(isNumber);
  return values.length > 0 ? Math.max(...values) : null;
}

/** "11 s" as a number and its unit; "2 min 5 s" stays as it is. */
function split(words) {
  const [value, unit, ...more] = words.split(/\s/);
  return more.length > 0 ? { value: words, unit: '' } : { value, unit: unit ?? '' };
}

function spark(history, columns) {
  if (columns.length === 0) return '';
  const times = history.times.slice(-POINTS);
  const all = columns.map((name) => history.column(name).slice(-POINTS));
  const points = [];
  times.forEach((at, index) => {
    const values = all.map((column) => column[index]).filter(isNumber);
    if (values.length > 0) points.push({ at, value: values.reduce((a, b) => a + b, 0) });
  });
  return points.length > 1 ? sparkPath(points, WIDTH, HEIGHT, { gap: GAP_SECONDS }) : '';
}
