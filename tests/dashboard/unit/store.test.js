import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createFrame } from '../../../crates/floodmark/src/http/dashboard/frame.js';
import { createStore, earlier, growth, HISTORY_SECONDS, serverNow } from '../../../crates/floodmark/src/http/dashboard/store.js';
import { NOW, status } from './examples.js';

const alert = (seq) => ({ seq, at: new Date(NOW).toISOString(), kind: 'alert', output: 'alerts', row: { device_id: `d${seq}` } });

test('a sample that a reconnect repeats is taken once', () => {
  const store = createStore();
  store.applyStatus(status());
  for (const seq of [1, 2, 3, 2, 3, 4]) store.applySample(alert(seq));
  assert.deepEqual(store.state.samples.alert.items.map((sample) => sample.seq), [1, 2, 3, 4]);
});

test('what was sampled before the page was opened stands before what came since, once', () => {
  const store = createStore();
  store.applyStatus(status());
  store.applySample(alert(5));
  store.applyBacklog('alert', [alert(5), alert(4), alert(3)]);
  store.applySample(alert(6));
  assert.deepEqual(store.state.samples.alert.items.map((sample) => sample.seq), [3, 4, 5, 6]);
});

test('after a restart numbers begin anew, and old samples stay', () => {
  const store = createStore();
  store.applyStatus(status());
  store.applySample(alert(100));
  assert.equal(store.applyStatus({ ...status(NOW + 1_000), started_at: 'later', instance: '' }), true);
  store.applySample(alert(1));
  assert.deepEqual(store.state.samples.alert.items.map((sample) => sample.seq), [100, 1]);
  assert.equal(store.state.restart.at, NOW + 1_000);
  assert.equal(earlier(store.state, 10), null);
});

test('memory stays bounded over an hour of two hundred rows a second', () => {
  const store = createStore();
  let seq = 0;
  for (let second = 0; second < 3600; second += 1) {
    store.applyStatus({ ...status(NOW + second * 1000), started_at: 'once' });
    for (let row = 0; row < 200; row += 1) store.applySample(alert((seq += 1)));
  }
  assert.ok(store.state.samples.alert.items.length <= 625);
  assert.equal(store.state.samples.alert.total, seq);
  assert.equal(store.state.history.times.length, HISTORY_SECONDS);
  for (const column of store.state.history.columns.values()) assert.equal(column.length, HISTORY_SECONDS);
  assert.ok(store.state.statuses.items.length < 100);
});

test('a time without a status leaves a gap in the history', () => {
  const store = createStore();
  for (const second of [0, 1, 20, 21]) store.applyStatus(status(NOW + second * 1000));
  assert.deepEqual(store.state.history.column('source/events/rate'), [50, 50, null, 50, 50]);
});

test('a sample of an unknown kind or without a number is left out', () => {
  const store = createStore();
  store.applySample({ seq: 1, kind: 'other' });
  store.applySample({ kind: 'alert' });
  assert.equal(store.state.samples.alert.total, 0);
});

test('growth is known only between two statuses of one run', () => {
  const [first, second] = [status(), status(NOW + 2_000)];
  second.outputs.alerts.queue.blocked_seconds = 1;
  const pick = (one) => one.outputs.alerts.queue.blocked_seconds;
  assert.equal(growth(second, first, pick), 0.5);
  assert.equal(growth(second, null, pick), null);
  assert.equal(growth(first, first, pick), null);
});

test('the server’s clock goes on between statuses, and stands still when the line is lost', () => {
  const store = createStore(() => {}, () => 1_000);
  store.applyStatus(status());
  store.setConnection({ state: 'live', attempts: 0 });
  assert.equal(serverNow(store.state, 1_400), NOW + 400);
  store.setConnection({ state: 'lost', attempts: 1 });
  assert.equal(serverNow(store.state, 9_000), NOW);
});

test('however many samples come, a view draws once a frame and no faster than it asks for', async () => {
  const state = { paused: false };
  let time = 0;
  let frames = [];
  const frame = createFrame(state, { request: (draw) => frames.push(draw), now: () => time });
  const run = () => { const due = frames; frames = []; due.forEach((draw) => draw()); };
  let fast = 0;
  let slow = 0;
  let always = 0;
  frame.add(['alert'], () => { fast += 1; });
  frame.add(['alert'], () => { slow += 1; }, { everyMs: 250 });
  frame.add(['status'], () => { always += 1; }, { always: true });
  run();
  for (let at = 0; at < 200; at += 1) frame.mark('alert');
  assert.equal(frames.length, 1);
  time = 16;
  run();
  assert.deepEqual([fast, slow], [2, 1]);
  time = 300;
  frame.mark('alert');
  run();
  assert.deepEqual([fast, slow], [3, 2]);
  state.paused = true;
  frame.mark('alert');
  frame.mark('status');
  run();
  assert.deepEqual([fast, slow, always], [3, 2, 2]);
});
