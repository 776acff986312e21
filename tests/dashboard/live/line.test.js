// The line between page and server: it breaks, Floodmark is started again, much comes at once.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { demo } from '../lib/floodmark.js';
import { browser, finding, live, noFinding, open, words } from '../lib/page.js';
import { waitUntil } from '../lib/waiting.js';

/** What the browser itself logs when nobody answers. */
const REFUSED = [/ERR_CONNECTION_REFUSED/, /ERR_INCOMPLETE_CHUNKED_ENCODING/, /ERR_CONNECTION_RESET/, /ERR_EMPTY_RESPONSE/];

test('a page survives a restart of Floodmark, and says so', async (t) => {
  const first = await demo(t);
  const chrome = await browser(t);
  const page = await open(t, chrome, first.url, { allow: REFUSED });
  await page.evaluate(() => { globalThis.notReloaded = true; });
  await first.until('alerts', (status) => status.outputs.alerts.rows > 0);
  await page.waitForSelector('#alert-cards tbody tr');
  const rows = await page.locator('#alert-cards tbody tr').count();
  const { started_at: before } = await first.status();

  assert.equal(await first.end(), 0);
  assert.match(await finding(page, 'connection'), /Problem: Connection to Floodmark lost No news since \d\d:\d\d:\d\d/);
  assert.match(await words(page, '#line'), /connection lost at .* reconnecting, attempt \d+/);
  assert.equal(await words(page, '#phase'), 'not known');
  assert.ok((await page.locator('#alert-cards tbody tr').count()) >= rows, 'what was seen stays');

  const second = await demo(t, { data: first.data, port: first.port });
  await live(page);
  await noFinding(page, 'connection');
  assert.match(await finding(page, 'restart'), /Note: Floodmark was restarted/);
  const { started_at: now, pipeline } = await second.status();
  assert.notEqual(now, before);
  await waitUntil('the new run named', async () => (await words(page, '#about')).includes(now));
  assert.equal(await words(page, '#pipeline'), pipeline);
  const { rows: alerts } = (await second.status()).outputs.alerts;
  await second.until('more alerts', (status) => status.outputs.alerts.rows > alerts);
  assert.ok(await page.evaluate(() => globalThis.notReloaded), 'the page was not reloaded');
});

test('a line on which nothing comes any more counts as lost', async (t) => {
  const one = await demo(t);
  const page = await open(t, await browser(t), one.url, { allow: REFUSED });
  one.signal('SIGSTOP');
  await finding(page, 'connection');
  one.signal('SIGCONT');
  await live(page);
  await noFinding(page, 'connection');
});

test('two hundred alerts a second leave the page responsive and small', async (t) => {
  // One reading in a hundred is above a limit.
  const one = await demo(t, { rate: 20_000, devices: 200 });
  const page = await open(t, await browser(t), one.url);
  await one.until('two hundred alerts a second', (status) => status.outputs.alerts.rows_per_second > 150);
  await page.waitForSelector('#alert-cards tbody tr');
  // CPU time of the page's main thread: on a busy machine wall time says how busy the machine is.
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('Performance.enable', { timeDomain: 'threadTicks' });
  const spent = async () => Object.fromEntries((await devtools.send('Performance.getMetrics')).metrics.map(({ name, value }) => [name, value]));
  const before = await spent();
  const measured = await page.evaluate(async () => {
    const SECONDS = 10;
    const gaps = [];
    const began = performance.now();
    let last = began;
    await new Promise((resolve) => {
      function frame(now) {
        gaps.push(now - last);
        last = now;
        if (now - began > SECONDS * 1000) resolve();
        else requestAnimationFrame(frame);
      }
      requestAnimationFrame(frame);
    });
    gaps.sort((a, b) => a - b);
    return { frames: gaps.length / SECONDS, p50: gaps[Math.floor(gaps.length / 2)], p99: gaps[Math.floor(gaps.length * 0.99)], seconds: (last - began) / 1000, elements: document.querySelectorAll('*').length };
  });
  const after = await spent();
  const busy = Object.fromEntries(['Task', 'Script', 'Layout', 'RecalcStyle'].map((name) => [name, (after[`${name}Duration`] - before[`${name}Duration`]) / measured.seconds]));
  const share = (value) => `${(value * 100).toFixed(1)} %`;
  t.diagnostic(`CPU of the main thread: ${share(busy.Task)} of one core (script ${share(busy.Script)}, layout ${share(busy.Layout)}, style ${share(busy.RecalcStyle)})`);
  t.diagnostic(`frames/s ${measured.frames.toFixed(1)}, between two: median ${measured.p50.toFixed(1)} ms, 99 in 100 ${measured.p99.toFixed(1)} ms; ${measured.elements} elements`);
  assert.ok(busy.Task < 0.5, `drawing takes ${share(busy.Task)} of one core`);
  assert.ok(measured.p50 < 50, `half of the frames within ${measured.p50} ms`);
  assert.ok(measured.elements < 5_000);
  const took = await page.evaluate(async () => {
    const began = performance.now();
    document.querySelector('#pause').click();
    await new Promise((resolve) => { requestAnimationFrame(() => requestAnimationFrame(resolve)); });
    return [performance.now() - began, document.querySelector('#pause').getAttribute('aria-pressed')];
  });
  assert.equal(took[1], 'true');
  assert.ok(took[0] < 500, `a press of a button shows after ${took[0]} ms`);
});
