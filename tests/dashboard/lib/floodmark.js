// `floodmark` as a user runs it: demo, broker, run, generate. Each process is ended by its own id, at the
// latest when the test process ends.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { later } from './later.js';
import { PATIENCE_SECONDS, waitUntil } from './waiting.js';

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
const SCRATCH = join(ROOT, 'target', 'dashboard-tests');
/** What a stop may take: the program itself gives up after 25 s. */
const END_SECONDS = 40;

export function binary() {
  const path = process.env.FLOODMARK_BIN ?? join(process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target'), 'debug', 'floodmark');
  if (!existsSync(path)) throw new Error(`there is no ${path}: run cargo build, or set FLOODMARK_BIN`);
  return path;
}

/** An empty directory below target/, deleted when the test is over. */
export function scratch(context) {
  mkdirSync(SCRATCH, { recursive: true });
  const path = mkdtempSync(join(SCRATCH, 'run-'));
  later(context, () => rmSync(path, { recursive: true, force: true, maxRetries: 5 }));
  return path;
}

export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

const running = new Set();
process.on('exit', () => running.forEach((one) => one.kill('SIGKILL')));

export class Process {
  constructor(args, { env = {} } = {}) {
    this.args = args;
    this.output = '';
    this.child = spawn(binary(), args.map(String), { env: { ...process.env, NO_COLOR: '1', ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(this.child);
    this.ended = once(this.child, 'exit').then(([code, signal]) => {
      running.delete(this.child);
      this.code = code ?? signal;
      return this.code;
    });
    // The end of what it says is enough for a message.
    const keep = (chunk) => { this.output = (this.output + chunk).slice(-64_000); };
    this.child.stdout.on('data', keep);
    this.child.stderr.on('data', keep);
  }

  signal(name) {
    this.child.kill(name);
  }

  /** Asks it to end, and gives its exit code. */
  async end(signal = 'SIGTERM') {
    if (this.code !== undefined) return this.code;
    // One that was stopped takes no other signal.
    this.child.kill('SIGCONT');
    this.child.kill(signal);
    return waitUntil(`the end of ${this.args[0]}\n${this.output}`, () => this.code !== undefined && [this.code], END_SECONDS)
      .then(([code]) => code, (error) => { this.child.kill('SIGKILL'); throw error; });
  }

  alive() {
    if (this.code !== undefined) throw new Error(`floodmark ${this.args.join(' ')} ended by itself (${this.code}):\n${this.output}`);
  }
}

/** A process with a dashboard. */
export class Served extends Process {
  constructor(args, port, options) {
    super([...args, '--http', `127.0.0.1:${port}`], options);
    this.url = `http://127.0.0.1:${port}/`;
  }

  async status() {
    const answer = await fetch(new URL('api/status', this.url));
    if (!answer.ok) throw new Error(`/api/status: ${answer.status}`);
    return answer.json();
  }

  /** Waits until `holds` of the status is truthy. */
  until(what, holds, seconds = PATIENCE_SECONDS) {
    return waitUntil(what, async () => {
      this.alive();
      const status = await this.status();
      return holds(status) && status;
    }, seconds);
  }
}

/** Keeps a process for a test, which ends it; the test sees what it said when it fails. */
export function keep(context, one) {
  later(context, () => one.end('SIGKILL').catch(() => {}));
  return one;
}

export async function demo(context, { rate = 50, devices = 20, data = join(scratch(context), 'data'), port } = {}) {
  const http = port ?? await freePort();
  const one = keep(context, new Served(['demo', '--rate', rate, '--devices', devices, '--data', data, '--listen', `127.0.0.1:${await freePort()}`], http));
  await one.until('a demo that runs', (status) => status.phase === 'running');
  return Object.assign(one, { data, port: http });
}

/** A broker of its own on a port that stays the same when it is started again. */
export async function broker(context, { port, data } = {}) {
  const listen = port ?? await freePort();
  const one = keep(context, new Process(['broker', '--listen', `127.0.0.1:${listen}`, ...(data ? ['--data', data] : [])]));
  await waitUntil('a broker', () => { one.alive(); return /listen|broker|127\.0\.0\.1/.test(one.output); });
  return Object.assign(one, { port: listen, address: `127.0.0.1:${listen}` });
}

/** Sends records as they are: `lines` to one partition of a topic. kcat takes any bytes but a line feed. */
export function send(address, topic, partition, lines) {
  execFileSync('kcat', ['-P', '-b', address, '-t', topic, '-p', String(partition), '-X', 'message.timeout.ms=20000'], { input: Buffer.concat(lines.flatMap((line) => [Buffer.from(line), Buffer.from('\n')])) });
}

/** A run of the reference pipeline with short times, its source on one broker and its alerts on the same or another. */
export async function run(context, { source, alerts = source, folder = scratch(context), changes = (text) => text }) {
  const file = join(folder, 'sensors.toml');
  writeFileSync(file, changes(pipeline(folder, source.address, alerts.address)));
  execFileSync(binary(), ['topics', 'create', file], { stdio: 'pipe' });
  const one = keep(context, new Served(['run', file], await freePort()));
  await one.until('a run that is ready', (status) => status.ready);
  return Object.assign(one, { file, folder });
}

function pipeline(folder, source, alerts) {
  return `
name = "sensors"
[sources.sensor_events]
type = "kafka"
brokers = "${source}"
topic = "sensor_events"
format = "json"
start = "earliest"
on_bad_record = "dead_letter"
[sources.sensor_events.schema]
device_id = "STRING NOT NULL"
ts = "TIMESTAMP NOT NULL"
temperature_c = "DOUBLE"
vibration_g = "DOUBLE"
site = "STRING"
[sources.sensor_events.event_time]
column = "ts"
delay = "1 second"
idle_after = "5 minutes"
max_future = "1 minute"
[outputs.curated]
query = """
SELECT window.start AS window_start, window.end AS window_end, device_id, count(*) AS events
FROM sensor_events GROUP BY window(ts, '10 seconds'), device_id
"""
[outputs.curated.sink]
type = "parquet"
path = "${folder}/curated"
[outputs.alerts]
query = "SELECT device_id, ts, temperature_c, site FROM sensor_events WHERE temperature_c > 85"
[outputs.alerts.sink]
type = "kafka"
brokers = "${alerts}"
topic = "sensor_alerts"
key = "device_id"
[dead_letter]
type = "kafka"
brokers = "${alerts}"
topic = "sensor_events_dead"
[late]
type = "parquet"
path = "${folder}/late"
[checkpoint]
path = "${folder}/_chk"
interval = "1 second"
`;
}

/** A reading as a device sends it. */
export function reading(device, seconds, { temperature = 20, now = Date.now() } = {}) {
  return JSON.stringify({ device_id: device, ts: new Date(now + seconds * 1000).toISOString(), temperature_c: temperature, vibration_g: 0.1, site: 'graz' });
}
