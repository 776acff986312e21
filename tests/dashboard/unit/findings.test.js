import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { reason } from '../../../crates/floodmark/src/http/dashboard/explain.js';
import { checkpointInterval, findings } from '../../../crates/floodmark/src/http/dashboard/findings.js';
import { at, NOW, status } from './examples.js';

const LIVE = { state: 'live', attempts: 0, since: NOW };
/** Findings of a status after `change`, compared with the unchanged one of ten and sixty seconds before. */
function found(change = () => {}, more = {}) {
  const now = status();
  change(now);
  return findings({ status: now, before: status(NOW - 10_000), minuteAgo: status(NOW - 60_000), connection: LIVE, newest: {}, since: {}, restart: null, ...more });
}
const one = (list, id) => list.find((finding) => finding.id === id);

test('a pipeline that is well has no finding', () => {
  assert.deepEqual(found(), []);
});

test('before the first status only the connection can be wrong', () => {
  assert.deepEqual(findings({ status: null, connection: { state: 'connecting', attempts: 0 } }), []);
  const [finding] = findings({ status: null, connection: { state: 'connecting', attempts: 2 } });
  assert.equal(finding.severity, 'problem');
});

test('a lost connection comes first and says since when', () => {
  const list = found((s) => { s.sources.events.ledger.bad = 3; }, { connection: { state: 'lost', attempts: 3, since: NOW } });
  assert.equal(list[0].id, 'connection');
  assert.match(list[0].detail, /No news since 14:00:00.*Attempt 3/);
});

test('an unreachable server is a problem, with since when and what it said', () => {
  const finding = one(found((s) => Object.assign(s.sources.events, { reachable: false, trouble: 'connection refused' }),
    { since: { 'unreachable/events': at(63) } }), 'unreachable/events');
  assert.equal(finding.severity, 'problem');
  assert.match(finding.detail, /^Not reachable since 13:58:57: connection refused\.$/);
  assert.equal(finding.target, 'graph');
});

describe('a watermark that is held back', () => {
  for (const name of ['slow', 'behind', 'empty', 'silent', 'unreachable', 'future']) {
    test(`by a partition that is ${name} is explained, with advice`, () => {
      const finding = one(found((s) => Object.assign(s.sources.events, { event_time_lag_seconds: 90, watermark: at(90), held_back_by: { partition: 7, reason: name } })), 'watermark/events');
      assert.match(finding.title, /partition 7 of events/);
      assert.ok(finding.detail.includes(reason(name).because));
      assert.ok(finding.advice.length > 20);
      assert.equal(finding.target, 'watermark');
    });
  }

  test('by as much as the delay and a little is no finding', () => {
    assert.equal(one(found((s) => { s.sources.events.event_time_lag_seconds = 24; }), 'watermark/events'), undefined);
  });

  test('for a reason that this page does not know is still named', () => {
    assert.ok(one(found((s) => Object.assign(s.sources.events, { event_time_lag_seconds: 90, held_back_by: { partition: 0, reason: 'new' } })), 'watermark/events'));
  });

  test('and has no value yet is a finding once records have been read', () => {
    const none = (s) => Object.assign(s.sources.events, { watermark: null, event_time_lag_seconds: null, held_back_by: { partition: 2, reason: 'empty' } });
    assert.match(one(found(none), 'watermark/events').detail, /no value yet/);
    assert.equal(one(found((s) => { none(s); s.sources.events.records = 0; }), 'watermark/events'), undefined);
  });
});

describe('refused records', () => {
  const refuse = (bad) => (s) => { Object.assign(s.sources.events.ledger, { bad, read: 2000 }); };

  test('are a note with the newest reason', () => {
    const finding = one(found(refuse(5), { newest: { dead_letter: { at: at(3), row: { reason: "ts: 'x' is not a time" } } } }), 'refused/events');
    assert.equal(finding.severity, 'note');
    assert.match(finding.title, /^5\srecords of events refused$/);
    assert.match(finding.detail, /Newest reason, at 13:59:57: ts: 'x' is not a time\./);
  });

  test('are a warning from one in a hundred', () => {
    assert.equal(one(found(refuse(11)), 'refused/events').severity, 'warning');
  });

  test('cannot smuggle a code mark into the words', () => {
    const finding = one(found(refuse(1), { newest: { dead_letter: { at: at(3), row: { reason: 'a `b` c' } } } }), 'refused/events');
    assert.ok(!finding.detail.includes('`'));
  });
});

test('timestamps in the future are a warning while they are recent', () => {
  const future = (s) => { s.sources.events.ledger.future = 2; };
  assert.equal(one(found(future), 'future/events').severity, 'warning');
  const before = status(NOW - 60_000);
  before.sources.events.ledger.future = 2;
  assert.equal(one(found(future, { minuteAgo: before }), 'future/events').severity, 'note');
});

describe('an output is slow', () => {
  test('when its queue is nearly full', () => {
    const finding = one(found((s) => { s.outputs.curated.queue.length = 12; }), 'slow/curated');
    assert.match(finding.detail, /12 of 16\sbatches/);
  });

  test('when workers waited for it', () => {
    const finding = one(found((s) => { s.outputs.alerts.queue.blocked_seconds = 5; }), 'slow/alerts');
    assert.match(finding.detail, /50\s%/);
  });

  test('but not when they waited for it long ago', () => {
    const before = status(NOW - 10_000);
    before.outputs.alerts.queue.blocked_seconds = 5;
    assert.equal(one(found((s) => { s.outputs.alerts.queue.blocked_seconds = 5; }, { before }), 'slow/alerts'), undefined);
  });
});

describe('a checkpoint', () => {
  test('is overdue after three intervals, as the newest ones show the interval', () => {
    assert.equal(checkpointInterval(status().checkpoint), 5);
    const finding = one(found((s) => { s.checkpoint.age_seconds = 16; }), 'checkpoint-old');
    assert.match(finding.title, /16\.0\ss old|16\ss old/);
    assert.match(finding.detail, /3 intervals of about 5\ss/);
  });

  test('is not overdue before ten seconds, however short the interval', () => {
    assert.equal(one(found((s) => Object.assign(s.checkpoint, { age_seconds: 9, interval_seconds: 1 })), 'checkpoint-old'), undefined);
  });

  test('whose interval is not known is not called overdue', () => {
    assert.equal(one(found((s) => Object.assign(s.checkpoint, { age_seconds: 900, recent: [] })), 'checkpoint-old'), undefined);
  });

  test('that failed just now is a problem', () => {
    assert.equal(one(found((s) => { s.checkpoint.failed = 1; }), 'checkpoint-failed').severity, 'problem');
  });
});

test('memory near its limit is a warning, and without a limit none', () => {
  assert.equal(one(found((s) => { s.process.memory_limit_bytes = 50e6; }), 'memory').severity, 'warning');
  assert.equal(one(found((s) => { s.process.memory_limit_bytes = 60e6; }), 'memory'), undefined);
});

test('lag is a note while it shrinks and a warning while it grows', () => {
  const behind = (s) => Object.assign(s.sources.events, { lag_seconds: 40, lag_records: 900 });
  assert.equal(one(found(behind), 'lag/events').severity, 'warning');
  const before = status(NOW - 10_000);
  before.sources.events.lag_records = 1000;
  assert.equal(one(found(behind, { before }), 'lag/events').severity, 'note');
});

test('many late rows are a warning that names the output', () => {
  const finding = one(found((s) => { s.sources.events.ledger.read = 2000; s.sources.events.ledger.outputs.curated.late = 50; }), 'late/curated');
  assert.match(finding.detail, /^5\.0\s%/);
});

test('rows that the target refused are a warning', () => {
  assert.ok(one(found((s) => { s.outputs.alerts.refused = 2; }), 'refused-rows/alerts'));
});

test('a failed run says why, and one that starts says what it waits for', () => {
  assert.match(one(found((s) => Object.assign(s, { phase: 'failed', failure: 'the disk is full' })), 'failed').detail, /the disk is full/);
  const starting = found((s) => Object.assign(s, { phase: 'starting', ready: false, waiting_for: ['recovering from checkpoint 42'] }));
  assert.match(one(starting, 'not-ready').detail, /checkpoint 42/);
});

test('a restart is told for a minute', () => {
  const restart = { at: NOW - 5_000 };
  assert.ok(one(found(() => {}, { restart }), 'restart'));
  assert.equal(one(found(() => {}, { restart: { at: NOW - 61_000 } }), 'restart'), undefined);
});

test('problems come before warnings, and warnings before notes', () => {
  const list = found((s) => {
    s.sources.events.ledger.bad = 1;
    s.process.memory_limit_bytes = 45e6;
    s.sources.events.reachable = false;
  });
  assert.deepEqual(list.map((finding) => finding.severity), ['problem', 'warning', 'note']);
});

test('a status in which nothing is known is no error', () => {
  assert.doesNotThrow(() => findings({
    status: { now: at(0), phase: 'starting', ready: false, sources: { a: {} }, outputs: { b: {} }, checkpoint: {}, process: {} },
    connection: LIVE,
  }));
});
