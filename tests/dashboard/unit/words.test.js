import assert from 'node:assert/strict';
import { test } from 'node:test';

import { bytes, cell, clock, count, counted, duration, near, percent, perSecond, UNKNOWN, wholeSeconds } from '../../../crates/floodmark/src/http/dashboard/format.js';
import { depths } from '../../../crates/floodmark/src/http/dashboard/graph.js';
import { dump, fromBase64, visible } from '../../../crates/floodmark/src/http/dashboard/hex.js';
import { balance } from '../../../crates/floodmark/src/http/dashboard/ledger.js';
import { columnsOf, series, valueColumns, whoColumns } from '../../../crates/floodmark/src/http/dashboard/rows.js';
import { lanes, span, sparkPath, ticks } from '../../../crates/floodmark/src/http/dashboard/scale.js';
import { verdict } from '../../../crates/floodmark/src/http/dashboard/watermark.js';
import { progressOf } from '../../../crates/floodmark/src/http/dashboard/windows.js';
import { NOW, status } from './examples.js';

/** With plain spaces: a figure and its unit are kept on one line by others. */
const plain = (text) => text.replace(/\u00a0/g, ' ');

test('durations have a unit and no more than two parts', () => {
  const cases = [[0, '0 s'], [0.0004, '400 µs'], [0.012, '12 ms'], [0.9999, '1.0 s'], [5, '5 s'], [3.21, '3.2 s'], [59.96, '1 min'], [125, '2 min 5 s'], [3600, '1 h'], [3780, '1 h 3 min'], [187200, '2 d 4 h'], [-2, '−2 s'], [null, UNKNOWN], [NaN, UNKNOWN]];
  for (const [seconds, words] of cases) assert.equal(plain(duration(seconds)), words);
  assert.equal(plain(wholeSeconds(11.2)), '11 s');
});

test('figures are separated, shortened and never NaN', () => {
  assert.equal(count(1234567), '1,234,567');
  assert.equal(plain(counted(1, 'row')), '1 row');
  assert.equal(plain(counted(2, 'batch', 'batches')), '2 batches');
  assert.equal(plain(bytes(4211)), '4.21 kB');
  assert.equal(plain(bytes(999)), '999 B');
  assert.equal(perSecond(0.004), 'under 0.01');
  assert.equal(plain(perSecond(1234567)), '1.23 M');
  assert.equal(plain(percent(0.0123)), '1.2 %');
  assert.equal(plain(percent(0.0001)), 'under 0.1 %');
  for (const format of [count, bytes, perSecond, percent]) assert.equal(format(undefined), UNKNOWN);
});

test('times are UTC, with the date when it is another day', () => {
  assert.equal(clock('2026-11-29T13:59:49.123Z', { fraction: true }), '13:59:49.123');
  assert.equal(near('2026-11-28T23:59:59Z', NOW), '2026-11-28 23:59:59');
  assert.equal(clock('not a time'), UNKNOWN);
  assert.equal(clock(8.7e15), UNKNOWN);
});

test('a cell of a table is one short line', () => {
  assert.equal(cell(null), 'null');
  assert.equal(cell({ a: 1 }), '{"a":1}');
  assert.equal(cell('x'.repeat(100)).length, 80);
});

test('bytes are dumped by sixteen, and text shows what nobody sees', () => {
  const bytes_ = Uint8Array.from([0, 0x41, 0xff, 0x1b, ...new TextEncoder().encode('\u202eevil')]);
  assert.equal(dump(bytes_), '000000  00 41 ff 1b e2 80 ae 65  76 69 6c                 |.A.....evil|');
  assert.equal(visible(bytes_), '\\x00A\ufffd\\x1b\\u202eevil');
  assert.deepEqual([...fromBase64('AEE=')], [0, 0x41]);
  assert.equal(fromBase64('no base64!').length, 0);
});

test('a balance names what is missing', () => {
  const ledger = { read: 10, bad: 1, null_time: 1 };
  assert.equal(balance(ledger, { taken: 5, filtered: 2, late: 1 }).missing, 0);
  assert.equal(balance(ledger, { taken: 5, filtered: 2, late: 0 }).missing, 1);
});

test('who and how much are guessed from a row’s names and values', () => {
  const rows = [{ site: 'graz', device_id: 'a', ts: '2026-11-29T14:00:00Z', t: 1.5 }];
  const columns = columnsOf(rows);
  assert.deepEqual(whoColumns(rows, columns), ['device_id', 'site']);
  assert.deepEqual(valueColumns(rows, columns), ['t']);
  assert.deepEqual(columnsOf([null, undefined, {}]), []);
});

test('spark lines go by the rows’ own time, the busiest device first', () => {
  const sample = (device, second, t) => ({ at: '2026-11-29T15:00:00Z', row: { device, ts: `2026-11-29T14:00:0${second}Z`, t } });
  const [first, second] = series([sample('b', 3, 1), sample('a', 2, 2), sample('a', 1, 3), sample('a', 4, null)], 'device', 't', ['device', 'ts', 't']);
  assert.deepEqual([first.who, first.rows, first.points.map((point) => point.value)], ['a', 3, [3, 2]]);
  assert.equal(second.who, 'b');
  assert.match(sparkPath(first.points, 100, 20), /^M[\d.]+ [\d.]+L[\d.]+ [\d.]+$/);
});

test('a time axis has round marks and a steady span', () => {
  assert.equal(span(61), 90);
  assert.equal(span(200_000), 3 * 86400);
  const { marks, seconds } = ticks(NOW, NOW + 60_000, 6);
  assert.equal(seconds, 10);
  assert.equal(marks.length, 7);
  assert.deepEqual(lanes([{ from: 0, to: 10 }, { from: 5, to: 15 }, { from: 10, to: 20 }]), [0, 1, 0]);
});

test('parts of the graph stand behind what they read, and a circle is no endless loop', () => {
  const depth = depths(status().graph);
  assert.deepEqual([...depth.values()], [0, 1, 2, 2, 1, 3]);
  assert.doesNotThrow(() => depths([{ id: 'a', reads: ['b'] }, { id: 'b', reads: ['a', 'gone'] }]));
});

test('the watermark is put into words', () => {
  const source = status().sources.events;
  assert.match(plain(verdict('events', source, NOW)), /^The watermark is 13:59:49, 11 s behind the clock; 10 s of that is the configured delay\. Partition 1 sets it/);
  assert.match(verdict('events', { ...source, event_time_lag_seconds: 16 }, NOW), /Partition 1 holds it back \(slow\): its events are older/);
  for (const partition of Object.values(source.partitions)) partition.standing = 'idle';
  assert.match(verdict('events', { ...source, held_back_by: null }, NOW), /Every partition is idle/);
  assert.match(verdict('events', { ...source, watermark: null }, NOW), /no watermark yet/);
});

test('a window waits for the least watermark of the sources that it reads', () => {
  const now = status();
  const output = now.graph.find((node) => node.name === 'curated');
  assert.deepEqual(progressOf(output, now), { watermark: NOW - 11_000, newest: NOW - 500 });
  now.sources.events.watermark = null;
  assert.equal(progressOf(output, now).watermark, null);
});
