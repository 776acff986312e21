// What is wrong: each finding, provoked for real. And what comes from outside, however hostile, is shown
// and not run.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';

import { broker, keep, Process, reading, run, scratch, send } from '../lib/floodmark.js';
import { browser, finding, noFinding, open, words } from '../lib/page.js';
import { waitUntil } from '../lib/waiting.js';

const TOPIC = 'sensor_events';
const PARTITIONS = [0, 1, 2];
const HOSTILE = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>\'"`${window.pwned=1}javascript:window.pwned=1';

test('what is refused, late, or ahead of time is found and explained', async (t) => {
  const kafka = await broker(t);
  const one = await run(t, { source: kafka });
  const page = await open(t, await browser(t), one.url);
  const everywhere = (seconds) => PARTITIONS.forEach((partition) => send(kafka.address, TOPIC, partition, [reading(`d${partition}`, seconds)]));

  await t.test('one partition that is empty holds the watermark back', async () => {
    for (const partition of [0, 1]) send(kafka.address, TOPIC, partition, [reading('d', -30)]);
    const words_ = await finding(page, 'watermark/sensor_events');
    assert.match(words_, /Watermark held back by partition 2 of sensor_events/);
    assert.match(words_, /is empty: no event with a usable time has come from it yet/);
  });

  await t.test('one partition with older events holds it back, and is named', async () => {
    send(kafka.address, TOPIC, 2, [reading('d', -120)]);
    await waitUntil('the reason', async () => /Partition 2 is (slow|silent)/.test(await finding(page, 'watermark/sensor_events')));
    await page.waitForSelector('#watermarks .pill[data-standing="holder"]');
    assert.match(await words(page, '#watermarks tbody tr:nth-child(3)'), /^2 holds it back: (slow|silent)/);
  });

  await t.test('and no longer once it has caught up', async () => {
    for (const ahead of [0, 1, 2]) {
      everywhere(0);
      await one.until(`records (${ahead})`, (status) => status.sources.sensor_events.event_time_lag_seconds < 10);
    }
    // It would come back within seconds without further events.
    everywhere(12);
    await noFinding(page, 'watermark/sensor_events');
  });

  await t.test('garbage is counted, with the newest reason, and its bytes can be looked at', async () => {
    send(kafka.address, TOPIC, 0, [Buffer.from([0, 1, 2, 0xff, 0xfe]), `{"device_id": ${JSON.stringify(HOSTILE)}, "ts": ${JSON.stringify(HOSTILE)}}`, HOSTILE]);
    await waitUntil('three refused', async () => /3 records of sensor_events refused/.test(await finding(page, 'refused/sensor_events')));
    assert.match(await finding(page, 'refused/sensor_events'), /Newest reason, at \d\d:\d\d:\d\d: .+/);
    await waitUntil('three letters', async () => (await page.locator('.letters button').count()) === 3);
    const seen = [];
    for (let at = 0; at < 3; at += 1) {
      await page.locator('.letters button').nth(at).click();
      seen.push({ text: await page.locator('.letter pre').nth(0).textContent(), hex: await page.locator('.letter pre').nth(1).textContent() });
    }
    assert.ok(seen.some(({ text, hex }) => text.startsWith('\\x00\\x01\\x02\ufffd') && hex.startsWith('000000  00 01 02 ff fe')), JSON.stringify(seen));
    assert.ok(seen.some(({ text }) => text === HOSTILE));
  });

  await t.test('a timestamp in the future is found, and moves no watermark', async () => {
    const { watermark } = (await one.status()).sources.sensor_events;
    send(kafka.address, TOPIC, 1, [reading('clock', 3600)]);
    assert.match(await finding(page, 'future/sensor_events'), /1 timestamp of sensor_events too far in the future/);
    const after = Date.parse((await one.status()).sources.sensor_events.watermark);
    assert.ok(after < Date.parse(watermark) + 60_000);
  });

  await t.test('rows that come too late are shown with their origin', async () => {
    send(kafka.address, TOPIC, 0, Array.from({ length: 20 }, () => reading('late', -600)));
    assert.match(await finding(page, 'late/curated'), /Many rows come too late for curated/);
    await page.waitForSelector('#late-card tbody tr');
    assert.match(await words(page, '#late-card tbody tr'), /sensor_events/);
  });

  await t.test('hostile names and values are shown as they are, and nothing of them runs', async () => {
    send(kafka.address, TOPIC, 0, [JSON.stringify({ device_id: HOSTILE, ts: new Date().toISOString(), temperature_c: 99.5, vibration_g: 1, site: HOSTILE })]);
    await page.waitForSelector('#alert-cards tbody tr');
    assert.ok((await words(page, '#alert-cards tbody tr')).includes('<img src=x onerror'));
    await page.waitForSelector('.device-list .who');
    assert.equal(await page.evaluate(() => globalThis.pwned), undefined);
    assert.equal(await page.locator('main img, main script').count(), 0);
  });

  await t.test('each finding leads to its place on the page, also by keyboard', async () => {
    for (const link of await page.locator('.finding h3 a').all()) {
      const target = await link.getAttribute('href');
      await link.focus();
      await page.keyboard.press('Enter');
      assert.equal(await page.evaluate(() => location.hash), target);
      assert.equal(await page.locator(target).count(), 1);
    }
  });
});

test('a Kafka that stops is found with since when, and forgotten when it is back', async (t) => {
  const data = join(scratch(t), 'broker');
  const kafka = await broker(t, { data });
  const one = await run(t, { source: kafka });
  const page = await open(t, await browser(t), one.url);
  PARTITIONS.forEach((partition) => send(kafka.address, TOPIC, partition, [reading('d', 0)]));
  await one.until('three records', (status) => status.sources.sensor_events.records === 3);
  await kafka.end();
  const words_ = await finding(page, 'unreachable/sensor_events');
  assert.match(words_, /Problem: Source sensor_events: the server does not answer Not reachable since \d\d:\d\d:\d\d/);
  await page.waitForSelector('.node[data-state="unreachable"]');
  await waitUntil('the watermark’s reason', async () => /is unreachable/.test(await finding(page, 'watermark/sensor_events')));
  await broker(t, { data, port: kafka.port });
  await noFinding(page, 'unreachable/sensor_events');
});

test('an output whose target hangs is found: slow, checkpoints overdue, lag', async (t) => {
  const source = await broker(t);
  const alerts = await broker(t);
  const one = await run(t, { source, alerts });
  const page = await open(t, await browser(t), one.url);
  const load = keep(t, new Process(['generate', '--brokers', source.address, '--topic', TOPIC, '--rate', '3000', '--devices', '100', '--anomalies', '0.5']));
  await one.until('alerts and checkpoints', (status) => status.outputs.alerts.rows > 100 && status.checkpoint.recent.length > 3);
  alerts.signal('SIGSTOP');
  assert.match(await finding(page, 'slow/alerts'), /Output alerts is slow Its queue holds \d+ of 16 batches/);
  await page.waitForSelector('.node[data-node="output:alerts"][data-state="full"]');
  assert.match(await finding(page, 'checkpoint-old'), /Problem: The newest checkpoint is .* old/);
  assert.match(await finding(page, 'lag/sensor_events'), /Source sensor_events is .* behind/);
  alerts.signal('SIGCONT');
  await noFinding(page, 'checkpoint-old');
  await load.end();
  await noFinding(page, 'slow/alerts');
});
