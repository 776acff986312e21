// Figures over time, drawn by uPlot: rates, lag, the watermark's distance, latencies, memory and CPU.
//
// Each plot has its newest figures beside it as text, for whoever cannot see or does not hover a canvas.

import { h, keyed, onWidth, text } from './dom.js';
import { bytes, clock, compact, duration, isNumber, percent, perSecond, UNKNOWN } from './format.js';
import uPlot from './vendor/uPlot.esm.js';

const HEIGHT = 170;
const COLOURS = 6;

export function plotsView(place) {
  const plots = new Map();
  let theme = null;
  let now = 0;
  document.documentElement.addEventListener('theme', () => { now += 1; });
  return (state) => {
    if (!state.status) return;
    const wanted = specifications(state.status);
    keyed(place, wanted, (one) => one.id, (one) => {
      const plot = create(one);
      plots.set(one.id, plot);
      return plot.root;
    });
    for (const one of wanted) {
      const plot = plots.get(one.id);
      const shape = one.series.map((line) => line.column).join('\n');
      if (plot.shape !== shape || theme !== now) build(plot, one, shape);
      feed(plot, one, state.history);
    }
    theme = now;
  };
}

/** What a colour of the style sheet is in the theme that shows: a canvas takes no `var(…)`. */
function colour(name) {
  const probe = h('span', { hidden: true });
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const resolved = getComputedStyle(probe).color;
  probe.remove();
  return resolved;
}

function specifications(status) {
  const sources = Object.keys(status.sources ?? {});
  const outputs = Object.keys(status.outputs ?? {});
  const windowed = new Set((status.graph ?? []).filter((node) => node.windowed).map((node) => node.name));
  const latency = (windows) => {
    const names = outputs.filter((name) => windowed.has(name) === windows);
    return [...of('output', names, 'p50', ', half'), ...of('output', names, 'p99', ', 99 in 100')];
  };
  const of = (kind, names, figure, words = '') => names.map((name) => ({ column: `${kind}/${name}/${figure}`, label: `${name}${words}` }));
  return [
    { id: 'rates', title: 'Read', unit: 'records/s', show: perSecond, series: of('source', sources, 'rate') },
    { id: 'visible', title: 'Visible', unit: 'rows/s', show: perSecond, series: of('output', outputs, 'rate') },
    { id: 'lag', title: 'Not read yet', unit: 'records', show: compact, series: of('source', sources, 'lag') },
    { id: 'watermark', title: 'Watermark behind the clock', unit: '', show: duration, series: of('source', sources, 'watermark') },
    { id: 'row-latency', title: 'Latency of rows', unit: 'event time to committed', show: duration, series: latency(false) },
    { id: 'window-latency', title: 'Latency of windows', unit: 'end to visible', show: duration, series: latency(true) },
    { id: 'memory', title: 'Memory', unit: '', show: bytes, series: [{ column: 'process/resident', label: 'process' }, { column: 'process/state', label: 'open windows' }] },
    { id: 'cpu', title: 'CPU', unit: 'of one core', show: percent, series: [{ column: 'process/cpu', label: 'process' }] },
    { id: 'stages', title: 'CPU by stage', unit: 'of one core', show: percent, series: Object.keys(status.process?.stages ?? {}).map((name) => ({ column: `stage/${name}/cpu`, label: name })) },
  ].filter((one) => one.series.length > 0);
}

function create(one) {
  const canvas = h('div', { class: 'canvas', 'aria-hidden': 'true' });
  const values = h('ul', { class: 'values' });
  const root = h('div', { class: 'card plot', 'data-plot': one.id },
    h('h3', {}, one.title, one.unit ? h('span', { class: 'quiet' }, ` ${one.unit}`) : null), values, canvas);
  const plot = { root, canvas, values, chart: null, shape: null, width: 0 };
  onWidth(canvas, (width) => {
    plot.width = width;
    plot.chart?.setSize({ width: Math.max(1, width), height: HEIGHT });
  });
  return plot;
}

function build(plot, one, shape) {
  plot.chart?.destroy();
  plot.shape = shape;
  plot.values.replaceChildren();
  plot.values.keyedNodes = undefined;
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const axis = { stroke: colour('--muted'), font, grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false } };
  plot.chart = new uPlot({
    width: Math.max(1, plot.width || plot.canvas.clientWidth),
    height: HEIGHT,
    legend: { show: false },
    cursor: { sync: { key: 'floodmark' }, drag: { x: false, y: false }, points: { size: 6 } },
    scales: { x: { time: true }, y: { range: (_, low, high) => [0, isNumber(high) && high > 0 ? high * 1.1 : 1] } },
    axes: [
      { ...axis, space: 80, size: 28, values: (_, marks) => marks.map((mark) => clock(mark * 1000, { seconds: mark % 60 !== 0 })) },
      { ...axis, size: 62, space: 34, values: (_, marks) => marks.map((mark) => one.show(mark)) },
    ],
    series: [{}, ...one.series.map((line, at) => ({
      label: line.label, stroke: colour(`--series-${(at % COLOURS) + 1}`), width: 1.75, dash: at < COLOURS ? undefined : [5, 4], points: { show: false }, spanGaps: false,
    }))],
    hooks: { setCursor: [(chart) => showValues(plot, one, chart.cursor.idx)] },
  }, [[], ...one.series.map(() => [])], plot.canvas);
}

function feed(plot, one, history) {
  plot.data = [history.times, ...one.series.map((line) => history.column(line.column))];
  // uPlot keeps what it is given: it gets copies, for the history changes in place.
  plot.chart.setData(plot.data.map((column) => [...column]));
  showValues(plot, one, plot.chart.cursor.idx);
}

/** The figures at the cursor, or the newest. */
function showValues(plot, one, index) {
  if (!plot.data) return;
  const at = isNumber(index) ? index : plot.data[0].length - 1;
  keyed(plot.values, one.series.map((line, number) => ({ ...line, number })), (line) => line.column,
    (line) => h('li', {}, h('span', { class: `key series-${(line.number % COLOURS) + 1}${line.number < COLOURS ? '' : ' dashed'}`, 'aria-hidden': 'true' }), `${line.label} `, h('span', { class: 'number' })),
    (item, line) => {
      const value = plot.data[line.number + 1][at];
      text(item.querySelector('.number'), isNumber(value) ? one.show(value) : UNKNOWN);
    });
}
