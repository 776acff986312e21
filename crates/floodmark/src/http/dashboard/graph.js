// The pipeline as a graph: what reads from what, how much flows, and where it backs up.
//
//   source ─> view ─> output ─> late rows        columns by how far a part is from its sources
//      └────> dead letters
//
// Parts are buttons in the page's own flow (columns; on a narrow screen, rows); the lines between them are
// drawn behind from where the parts came to lie.

import { attribute, attributes, h, keyed, s, share, text } from './dom.js';
import { counted, duration, perSecond, rate } from './format.js';
import { kindOf } from './explain.js';
import { earlier, growth, LITTLE_SECONDS } from './store.js';

/** Queue fill from which a part counts as backed up (drawn as such, with the word). */
const FULL = 0.75;

export function graphView(stage, detail) {
  const lines = s('svg', { class: 'lines', 'aria-hidden': 'true' });
  const columns = h('div', { class: 'columns' });
  stage.append(lines, columns);
  let graph = [];
  let flows = new Map();
  let shape = '';
  let chosen = null;
  let status = null;

  function choose(id) {
    chosen = id;
    for (const button of columns.querySelectorAll('button')) attribute(button, 'aria-pressed', String(button.dataset.node === id));
    drawDetail(detail, graph.find((node) => node.id === id), status);
  }

  /** Where the lines run: measured only when a part has changed its size, for that costs a layout. */
  function drawLines() {
    const box = stage.getBoundingClientRect();
    attributes(lines, { width: Math.ceil(box.width), height: Math.ceil(box.height) });
    const at = (id) => columns.querySelector(`button[data-node="${CSS.escape(id)}"]`)?.getBoundingClientRect();
    const across = getComputedStyle(columns).flexDirection === 'row';
    const edges = graph.flatMap((node) => node.reads.map((from) => ({ id: `${from}>${node.id}`, from, to: node.id })));
    keyed(lines, edges, (edge) => edge.id, () => s('path'), (path, edge) => {
      path.edge = edge;
      const [a, b] = [at(edge.from), at(edge.to)];
      if (!a || !b) return;
      attribute(path, 'd', curve(a, b, box, across));
      attribute(path, 'data-kind', graph.find((node) => node.id === edge.to).kind);
    });
    drawFlows();
  }

  function drawFlows() {
    for (const path of lines.children) attribute(path, 'data-flow', flows.get(path.edge.to) > 0 ? 'yes' : 'no');
  }

  const sizes = new ResizeObserver(() => requestAnimationFrame(drawLines));

  return (state) => {
    status = state.status;
    if (!status?.graph) return;
    graph = status.graph;
    flows = flowInto(status, earlier(state, LITTLE_SECONDS));
    const wanted = JSON.stringify(graph.map((node) => [node.id, node.reads]));
    if (wanted !== shape) {
      shape = wanted;
      sizes.disconnect();
      build(columns, graph, choose);
      for (const part of [stage, ...columns.querySelectorAll('button')]) sizes.observe(part);
      chosen = (graph.find((node) => node.id === chosen) ?? graph.find((node) => node.windowed) ?? graph[0])?.id;
    }
    for (const button of columns.querySelectorAll('button')) {
      updateNode(button, graph.find((node) => node.id === button.dataset.node), status, flows);
    }
    choose(chosen);
    drawFlows();
  };
}

/** How many rows a second reach each part: from the ledger's growth, so that it counts what was let through. */
function flowInto(status, before) {
  const flows = new Map();
  for (const node of status.graph) {
    const bySource = (pick) => {
      const rates = Object.keys(status.sources ?? {}).map((name) => growth(status, before, (at) => pick(at.sources?.[name])));
      return rates.some((one) => one !== null) ? rates.reduce((a, b) => a + (b ?? 0), 0) : null;
    };
    if (node.kind === 'source') flows.set(node.id, status.sources?.[node.name]?.records_per_second ?? null);
    if (node.kind === 'view') flows.set(node.id, viewFlow(node, status));
    if (node.kind === 'output') flows.set(node.id, bySource((source) => source?.ledger?.outputs?.[node.name]?.taken));
    if (node.kind === 'dead_letter') flows.set(node.id, bySource((source) => (source ? source.ledger.bad + source.ledger.null_time : null)));
    if (node.kind === 'late') {
      const late = (source) => source && Object.values(source.ledger.outputs).reduce((sum, one) => sum + one.late, 0);
      flows.set(node.id, bySource(late));
    }
  }
  return flows;
}

/** What is offered to a view: what its sources read. */
function viewFlow(node, status) {
  const byId = new Map(status.graph.map((one) => [one.id, one]));
  const feeds = (id) => {
    const one = byId.get(id);
    if (!one) return 0;
    return one.kind === 'source' ? status.sources?.[one.name]?.records_per_second ?? 0 : one.reads.reduce((sum, from) => sum + feeds(from), 0);
  };
  return node.reads.reduce((sum, from) => sum + feeds(from), 0);
}

/** How many steps a part is from its sources. */
export function depths(graph) {
  const byId = new Map(graph.map((node) => [node.id, node]));
  const known = new Map();
  const depth = (id, seen) => {
    if (known.has(id)) return known.get(id);
    const node = byId.get(id);
    if (!node || seen.has(id)) return 0;
    const inner = new Set(seen).add(id);
    const value = node.reads.length === 0 ? 0 : 1 + Math.max(...node.reads.map((from) => depth(from, inner)));
    known.set(id, value);
    return value;
  };
  for (const node of graph) depth(node.id, new Set());
  return known;
}

function build(columns, graph, choose) {
  const depth = depths(graph);
  columns.replaceChildren();
  columns.keyedNodes = undefined;
  for (let at = 0; at <= Math.max(0, ...depth.values()); at += 1) {
    const nodes = graph.filter((node) => depth.get(node.id) === at);
    columns.append(h('div', { class: 'column' }, nodes.map((node) => createNode(node, choose))));
  }
}

function createNode(node, choose) {
  return h('button', { type: 'button', class: 'node', 'data-node': node.id, 'data-kind': node.kind, 'aria-pressed': 'false', onclick: () => choose(node.id) },
    h('span', { class: 'kind' }, kindOf(node).name),
    h('span', { class: 'name' }, node.name ?? shortTarget(node.target)),
    h('span', { class: 'flow' }),
    h('span', { class: 'queue', hidden: true }, h('span', { class: 'meter' }, h('span', { class: 'fill' })), h('span', { class: 'words' })));
}

/** A topic without its brokers, a directory without those above it. */
function shortTarget(target = '') {
  return target.split(' @ ')[0].split('/').filter(Boolean).at(-1) ?? '';
}

function updateNode(button, node, status, flows) {
  const flow = flows.get(node.id);
  text(button.querySelector('.flow'), flow === null || flow === undefined ? '' : `${perSecond(flow)} ${node.kind === 'source' || node.kind === 'dead_letter' ? 'records' : 'rows'}/s`);
  const source = node.kind === 'source' ? status.sources?.[node.name] : null;
  attribute(button, 'data-state', source?.reachable === false ? 'unreachable' : null);
  if (source?.reachable === false) text(button.querySelector('.flow'), 'does not answer');
  const queue = node.kind === 'output' ? status.outputs?.[node.name]?.queue : status[node.kind]?.queue;
  const line = button.querySelector('.queue');
  attribute(line, 'hidden', !queue);
  if (!queue) return;
  const fill = queue.capacity > 0 ? queue.length / queue.capacity : 0;
  attribute(button, 'data-state', fill >= FULL ? 'full' : null);
  share(line.querySelector('.fill'), fill);
  text(line.querySelector('.words'), `${fill >= FULL ? 'backed up: ' : ''}queue ${queue.length} of ${queue.capacity}${queue.blocked_seconds > 0 ? `, waited ${duration(queue.blocked_seconds)}` : ''}`);
}

/** From the edge of one box to that of the next: across, or (on a narrow screen) down. */
function curve(a, b, box, across) {
  if (across) {
    const [x1, y1, x2, y2] = [a.right - box.left, a.top + a.height / 2 - box.top, b.left - box.left, b.top + b.height / 2 - box.top];
    const middle = (x1 + x2) / 2;
    return `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`;
  }
  const [x1, y1, x2, y2] = [a.left + a.width / 2 - box.left, a.bottom - box.top, b.left + b.width / 2 - box.left, b.top - box.top];
  const middle = (y1 + y2) / 2;
  return `M${x1} ${y1}C${x1} ${middle} ${x2} ${middle} ${x2} ${y2}`;
}

function drawDetail(place, node, status) {
  if (!node) return;
  if (place.dataset.node !== node.id) {
    place.dataset.node = node.id;
    place.replaceChildren(
      h('h3', {}, node.name ?? kindOf(node).name, ' ', h('span', { class: 'quiet' }, kindOf(node).name)),
      h('p', {}, kindOf(node).does),
      h('dl', { class: 'pairs' }),
      ...(node.query ? [h('pre', { class: 'query', tabindex: '0', role: 'region', 'aria-label': `Query of ${node.name}` }, node.query.trim())] : []));
  }
  keyed(place.querySelector('dl'), facts(node, status), ([name]) => name,
    ([name]) => h('div', {}, h('dt', {}, name), h('dd')), (row, [, value]) => text(row.lastChild, value));
}

function facts(node, status) {
  const list = [];
  if (node.target) list.push([node.kind === 'source' ? 'Reads' : 'Writes to', `${node.type ? `${node.type}, ` : ''}${node.target}`]);
  const output = node.kind === 'output' ? status.outputs?.[node.name] : null;
  const source = node.kind === 'source' ? status.sources?.[node.name] : null;
  if (source) list.push(['Rate', `${rate(source.records_per_second, 'records')}`], ['Partitions', counted(Object.keys(source.partitions ?? {}).length, 'partition')]);
  if (node.window_seconds) list.push(['Window', duration(node.window_seconds)]);
  if (output) {
    list.push(['Visible', `${rate(output.rows_per_second, 'rows')}, ${counted(output.rows, 'row')} so far`]);
    if (output.queue) list.push(['Back-pressure', `queue ${output.queue.length} of ${counted(output.queue.capacity, 'batch', 'batches')}; workers have waited ${duration(output.queue.blocked_seconds)} for it in all`]);
  }
  return list;
}
