// The dashboard of a demo: what it shows is what `/api/status` says; it can be used by anybody.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { demo } from '../lib/floodmark.js';
import { axe, browser, DESK, number, open, PHONE, words } from '../lib/page.js';
import { waitUntil } from '../lib/waiting.js';

/** Figures of the page, read at one moment, as text with plain spaces. */
function shown(page) {
  return page.evaluate(() => {
    const plain = (node) => node.textContent.replace(/\s/g, ' ');
    const cells = (row, many) => [...row.querySelectorAll('td')].slice(0, many).map(plain);
    const rows = (selector, name, many) => Object.fromEntries([...document.querySelectorAll(selector)].map((row) => [row.dataset[name], cells(row, many)]));
    return {
      ledger: rows('#ledgers tbody tr', 'output', 6),
      written: rows('#output-card tbody tr', 'output', 1),
      partitions: [...document.querySelectorAll('#watermarks tbody tr')].map((row) => plain(row.querySelector('.offset'))),
      watermark: [...document.querySelectorAll('#watermarks tbody tr')].map((row) => plain(row.querySelector('.watermark'))),
      checkpoint: plain(document.querySelector('#checkpoint-card tbody th')),
      open: [...document.querySelectorAll('.windows.open .holds')].map(plain),
    };
  });
}

/** The same figures of a status. */
function said(status) {
  const source = status.sources.sensor_events;
  const { ledger } = source;
  const group = (value) => value.toLocaleString('en');
  const partitions = Object.values(source.partitions);
  const written = { ...status.outputs, 'dead letters': status.dead_letter, 'late rows': status.late };
  return {
    ledger: Object.fromEntries(Object.entries(ledger.outputs).map(([name, one]) => [name, [ledger.read, one.taken, one.filtered, one.late, ledger.bad, ledger.null_time].map(group)])),
    written: Object.fromEntries(Object.entries(written).map(([name, one]) => [name, [group(one.rows)]])),
    partitions: partitions.map((one) => group(one.next_offset)),
    watermark: partitions.map((one) => one.watermark.slice(11, 19)),
    checkpoint: group(status.checkpoint.recent.at(-1).epoch),
    open: status.outputs.curated.windows.slice(0, 12).map((one) => `${group(one.groups)} ${one.groups === 1 ? 'group' : 'groups'}, ${group(one.rows)} ${one.rows === 1 ? 'row' : 'rows'}`),
  };
}

test('the dashboard of a demo', async (t) => {
  const one = await demo(t);
  const chrome = await browser(t);
  await one.until('a first window that fired, alerts and a checkpoint', (status) => status.outputs.curated.files > 0 && status.outputs.alerts.rows > 5 && status.checkpoint.recent.length > 0);
  await one.until('a dead letter and a late row', (status) => status.dead_letter.rows > 0 && status.late.rows > 0);
  const page = await open(t, chrome, one.url);

  await t.test('shows the figures that /api/status says at the same moment', async () => {
    // Every status that the server gives meanwhile; the page, stopped, shows one of them, in all figures.
    const statuses = [];
    let looking = true;
    const looks = (async () => {
      while (looking) {
        const status = await one.status();
        if (statuses.at(-1)?.now !== status.now) statuses.push(status);
      }
    })();
    const drawn = await page.locator('#ledgers .read').first().innerText();
    await waitUntil('two statuses drawn', async () => statuses.length > 10 && (await page.locator('#ledgers .read').first().innerText()) !== drawn);
    // Views that draw less often than others have drawn the status before the next one comes.
    await page.waitForFunction(() => new Promise((resolve) => {
      const cell = document.querySelector('#ledgers .read');
      new MutationObserver((_, observer) => {
        observer.disconnect();
        setTimeout(() => resolve(true), 400);
      }).observe(cell, { childList: true, characterData: true, subtree: true });
    }));
    await page.click('#pause');
    looking = false;
    await looks;
    const figures = await shown(page);
    const same = statuses.find((status) => JSON.stringify(said(status)) === JSON.stringify(figures));
    assert.ok(same, `no status says ${JSON.stringify(figures)}; the last says ${JSON.stringify(said(statuses.at(-1)))}`);
    for (const cells of Object.values(figures.ledger)) {
      const [read, ...parts] = cells.map(number);
      assert.equal(parts.reduce((a, b) => a + b, 0), read, 'the balance as shown');
    }
  });

  await t.test('stands still while it is paused, and goes on from there', async () => {
    const before = await shown(page);
    const { read } = (await one.status()).sources.sensor_events.ledger;
    await one.until('more records', (status) => status.sources.sensor_events.ledger.read > read + 100);
    assert.deepEqual(await shown(page), before);
    await page.click('#pause');
    await waitUntil('newer figures', async () => JSON.stringify(await shown(page)) !== JSON.stringify(before));
  });

  await t.test('names every part of the pipeline, with its query and target', async () => {
    const status = await one.status();
    for (const node of status.graph) {
      await page.click(`.node[data-node="${node.id}"]`);
      assert.ok(!(await page.locator('#graph-detail').evaluate((place) => [...place.childNodes].some((child) => child.nodeType === Node.TEXT_NODE))), 'nothing but elements');
      const detail = await words(page, '#graph-detail');
      if (node.name) assert.ok(detail.includes(node.name), detail);
      if (node.target) assert.ok(detail.includes(node.target), detail);
      if (node.query) assert.ok(detail.includes(node.query.replace(/\s+/g, ' ').trim()), detail);
    }
  });

  await t.test('says nowhere what only a program would say', async () => {
    const said_ = await page.evaluate(() => [...document.querySelectorAll('main *')].filter((node) => node.childElementCount === 0 && !node.closest('td[data-null], pre'))
      .map((node) => node.textContent).filter((text) => /^(null|undefined|NaN|\[object .*)$/.test(text.trim())));
    assert.deepEqual(said_, []);
  });

  await t.test('draws each partition, and says which one sets the watermark', async () => {
    const status = await one.status();
    const partitions = Object.keys(status.sources.sensor_events.partitions);
    assert.equal(await page.locator('#watermarks tbody tr').count(), partitions.length);
    assert.match(await words(page, '#watermarks .verdict'), /The watermark is \d\d:\d\d:\d\d, .* behind the clock; 10 s of that is the configured delay/);
    assert.match(await page.locator('svg.event-time').getAttribute('aria-label'), /watermark/);
  });

  await t.test('shows windows, alerts with spark lines, dead letters, late rows, checkpoints and plots', async () => {
    await page.waitForSelector('.windows.open li');
    await page.waitForSelector('.windows.fired li');
    await page.waitForSelector('#alert-cards tbody tr');
    await waitUntil('a spark line', async () => (await page.locator('.device-list path[d^="M"]').count()) > 0);
    await page.waitForSelector('#late-card tbody tr');
    await page.waitForSelector('.timeline rect.checkpoint');
    await waitUntil('plots', async () => (await page.locator('.plot canvas').count()) >= 9);
  });

  await t.test('shows the bytes of the dead letter that is chosen, and keeps showing it', async () => {
    const letters = page.locator('.letters button');
    await letters.last().click();
    const reason = await words(page, '.letter .why');
    const hex = await words(page, '.letter pre >> nth=1');
    assert.match(hex, /^000000 /);
    const sampled = await (await fetch(new URL('api/samples?kind=dead_letter&limit=500', one.url))).json();
    assert.ok(sampled.some(({ row }) => row.reason === reason), reason);
    const rows = (await one.status()).dead_letter.rows;
    await one.until('more dead letters', (status) => status.dead_letter.rows > rows);
    assert.equal(await words(page, '.letter pre >> nth=1'), hex);
  });

  await t.test('stays small: the page keeps a bounded number of elements', async () => {
    assert.ok(await page.evaluate(() => document.querySelectorAll('*').length) < 5_000);
  });

  await t.test('can be had in light, dark, or as the system says, and remembers it', async () => {
    const paper = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const light = await paper();
    await page.click('#theme');
    await page.click('#theme');
    assert.equal(await words(page, '#theme'), 'Theme: dark');
    assert.notEqual(await paper(), light);
    await page.reload({ waitUntil: 'domcontentloaded' });
    await page.waitForSelector('#line[data-state="live"]');
    assert.notEqual(await paper(), light);
    await page.click('#theme');
    assert.equal(await paper(), light);
  });

  for (const [name, options] of [['light', { theme: 'light' }], ['dark', { theme: 'dark' }], ['a phone', { size: PHONE }], ['a phone, dark', { size: PHONE, theme: 'dark' }]]) {
    await t.test(`axe-core finds nothing in ${name}`, async (s) => {
      const other = await open(s, chrome, one.url, options);
      await other.waitForSelector('#alert-cards tbody tr');
      await other.waitForSelector('.letters button');
      assert.deepEqual(await axe(other), []);
    });
  }

  await t.test('on a phone nothing is wider than the screen', async (s) => {
    const other = await open(s, chrome, one.url, { size: PHONE });
    await other.waitForSelector('#alert-cards tbody tr');
    assert.equal(await other.evaluate(() => document.documentElement.scrollWidth), PHONE.width);
  });

  await t.test('nothing moves by itself for whoever does not want movement', async (s) => {
    const other = await open(s, chrome, one.url, { motion: 'reduce' });
    await other.waitForSelector('.lines path[data-flow="yes"]', { state: 'attached' });
    assert.deepEqual(await other.evaluate(() => document.getAnimations().map((one_) => one_.animationName ?? one_.transitionProperty)), []);
  });

  await t.test('the keyboard reaches everything that can be used, and shows where it is', async (s) => {
    const other = await open(s, chrome, one.url, { size: DESK });
    await other.waitForSelector('.letters button');
    await other.click('#pause');
    const missing = await other.evaluate(() => {
      // Everything that a pointer could use must be in the order of Tab; Chromium itself walks it below.
      const usable = [...document.querySelectorAll('a[href], button, select, summary, [tabindex="0"]')].filter((node) => node.checkVisibility());
      usable.forEach((node, at) => { node.dataset.usable = at; });
      return usable.length;
    });
    const reached = new Set();
    await other.evaluate(() => document.activeElement.blur());
    for (let press = 0; press < missing + 20 && reached.size < missing; press += 1) {
      await other.keyboard.press('Tab');
      const at = await other.evaluate(() => {
        const node = document.activeElement;
        return { usable: node.dataset.usable ?? null, outline: getComputedStyle(node).outlineStyle };
      });
      if (at.usable === null) continue;
      reached.add(at.usable);
      assert.notEqual(at.outline, 'none', 'what has the focus is marked');
    }
    assert.equal(reached.size, missing);
    await other.focus('.node[data-kind="source"]');
    await other.keyboard.press('Enter');
    assert.match(await words(other, '#graph-detail h3'), /Source/);
    await other.focus('.skip');
    await other.keyboard.press('Enter');
    assert.equal(await other.evaluate(() => document.activeElement.id), 'main');
  });
});
