// What was written: rows, files and bytes that readers can see, per output, and how long it took.

import { attribute, h, keyed, text } from './dom.js';
import { bytes, count, counted, duration, perSecond, UNKNOWN } from './format.js';

const COLUMNS = ['Visible rows', 'Rows/s', 'Files', 'Bytes', 'A file', 'Latency, half', 'Latency, 99 in 100', 'Last commit', 'Refused'];

export function outputsView(card) {
  const body = h('tbody');
  card.append(h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Outputs' },
    h('table', { class: 'written' }, h('caption', { class: 'hide' }, 'What was written, by output'),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Output'), COLUMNS.map((name) => h('th', { scope: 'col', class: 'number' }, name)))), body)));

  return ({ status }) => {
    if (!status) return;
    const rows = [...Object.entries(status.outputs ?? {}), ['dead letters', status.dead_letter], ['late rows', status.late]].filter(([, output]) => output);
    const targets = new Map((status.graph ?? []).map((node) => [node.kind === 'output' ? node.name : { dead_letter: 'dead letters', late: 'late rows' }[node.kind], node.target]));
    keyed(body, rows, ([name]) => name, ([name]) => h('tr', { 'data-output': name },
      h('th', { scope: 'row' }, name, h('span', { class: 'target' })), COLUMNS.map(() => h('td', { class: 'number' }))), (row, [name, output]) => {
      text(row.querySelector('.target'), targets.get(name) ?? '');
      attribute(row.querySelector('.target'), 'title', targets.get(name));
      cells(output).forEach((value, at) => text(row.children[at + 1], value));
      attribute(row.lastChild, 'data-any', output.refused > 0);
    });
  };
}

function cells(output) {
  const { latency, commit } = output;
  return [
    count(output.rows),
    perSecond(output.rows_per_second),
    output.files > 0 ? count(output.files) : UNKNOWN,
    bytes(output.bytes),
    output.files > 0 ? bytes(output.bytes / output.files) : UNKNOWN,
    duration(latency?.p50_seconds),
    duration(latency?.p99_seconds),
    commit?.last_seconds === null || commit?.last_seconds === undefined ? UNKNOWN : duration(commit.last_seconds),
    counted(output.refused, 'row'),
  ];
}
