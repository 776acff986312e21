// A status as `/api/status` gives it, of a pipeline that is well, and ways to change it. For unit tests of
// pure modules only: what the page shows is tested on live runs.

export const NOW = Date.parse('2026-11-29T14:00:00.000Z');
export const at = (secondsAgo, now = NOW) => new Date(now - secondsAgo * 1000).toISOString();

export function status(now = NOW) {
  return {
    pipeline: 'sensors', version: '0.1.0', instance: 'aaaa', now: at(0, now), started_at: at(3600, now),
    phase: 'running', elapsed_seconds: 3600, ready: true, waiting_for: [], failure: null,
    graph: [
      { id: 'source:events', kind: 'source', name: 'events', type: 'kafka', target: 'events @ localhost:9092', reads: [] },
      { id: 'view:readings', kind: 'view', name: 'readings', query: 'SELECT 1', reads: ['source:events'] },
      { id: 'output:curated', kind: 'output', name: 'curated', windowed: true, window_seconds: 60, reads: ['view:readings'] },
      { id: 'output:alerts', kind: 'output', name: 'alerts', windowed: false, reads: ['view:readings'] },
      { id: 'dead_letter', kind: 'dead_letter', reads: ['source:events'] },
      { id: 'late', kind: 'late', reads: ['output:curated'] },
    ],
    sources: {
      events: {
        records: 1000, bytes: 139000, records_per_second: 50, bytes_per_second: 6950,
        ledger: { read: 1000, bad: 0, null_time: 0, future: 0, outputs: { curated: { taken: 900, filtered: 100, late: 0 }, alerts: { taken: 10, filtered: 990, late: 0 } } },
        watermark: at(11, now), watermark_delay_seconds: 10, event_time_lag_seconds: 11,
        held_back_by: { partition: 1, reason: 'slow' }, reachable: true, trouble: null, lag_records: 0, lag_seconds: 0,
        partitions: {
          0: { start_offset: 0, next_offset: 500, end_offset: 500, lag_records: 0, lag_seconds: 0, watermark: at(10.5, now), standing: 'active', max_event_time: at(0.5, now) },
          1: { start_offset: 0, next_offset: 500, end_offset: 500, lag_records: 0, lag_seconds: 0, watermark: at(11, now), standing: 'active', max_event_time: at(1, now) },
        },
      },
    },
    outputs: { curated: output({ open_windows: 1, windows: [{ start: at(30, now), end: at(-30, now), groups: 3, rows: 50 }] }), alerts: output() },
    dead_letter: output(), late: output(),
    checkpoint: {
      epoch: 42, generation: 3, completed: 12, failed: 0, last_seconds: 0.1, last_bytes: 4211, age_seconds: 2,
      recent: [17, 12, 7, 2].map((ago, index) => ({ epoch: 39 + index, at: at(ago, now), seconds: 0.1, bytes: 4211 })),
    },
    state_bytes: 8812,
    process: { cpu_seconds: 12, resident_bytes: 44e6, memory_limit_bytes: null, threads: 19, stages: { fetch: 1.1 } },
  };
}

function output(more = {}) {
  return {
    rows: 100, files: 0, bytes: 0, refused: 0, rows_per_second: 1, open_windows: 0, open_groups: 0, windows: [], fired_windows: 0,
    queue: { length: 0, capacity: 16, blocked_seconds: 0 }, latency: { count: 0, p50_seconds: null, p99_seconds: null },
    commit: { count: 1, last_seconds: 0.01 }, ...more,
  };
}
