// A page of the dashboard in Chromium, watched: what it logs, asks for and throws. At the end of a test
// there must have been no error, and no request to anywhere but the server that it came from.

import assert from 'node:assert/strict';

import { later } from './later.js';
import { axeSource, chromium } from './packages.js';
import { PATIENCE_SECONDS, waitUntil } from './waiting.js';

const ARGS = ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking'];
export const PHONE = { width: 390, height: 844 };
export const DESK = { width: 1360, height: 900 };

export async function browser(context) {
  const executablePath = process.env.FLOODMARK_CHROMIUM ?? '/usr/bin/chromium';
  const one = await chromium.launch({ executablePath, headless: true, args: ARGS });
  later(context, () => one.close());
  return one;
}

/** Opens the dashboard at `url` and waits until it shows a status. `allow` are console errors that belong to the test. */
export async function open(context, chrome, url, { theme = 'light', size = DESK, motion = 'no-preference', allow = [] } = {}) {
  const pages = await chrome.newContext({ viewport: size, colorScheme: theme, reducedMotion: motion });
  const page = await pages.newPage();
  page.setDefaultTimeout(PATIENCE_SECONDS * 1000);
  const wrong = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type()) && !allow.some((pattern) => pattern.test(message.text()))) wrong.push(`${message.type()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => wrong.push(`thrown: ${error.stack}`));
  page.on('request', (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith('data:')) wrong.push(`a request to ${request.url()}`);
  });
  later(context, async () => {
    await pages.close();
    assert.deepEqual(wrong, [], 'the page must log no error and ask nobody else');
  });
  await page.goto(url, { waitUntil: 'domcontentloaded' });
  await live(page);
  return page;
}

export const live = (page) => page.waitForSelector('#line[data-state="live"]');

/** The text of an element, with plain spaces. */
export async function words(page, selector) {
  return (await page.locator(selector).first().innerText()).replace(/\s+/g, ' ').trim();
}

/** Waits for a finding, and gives its words. */
export async function finding(page, id) {
  await page.waitForSelector(`.finding[data-id="${id}"]`);
  return words(page, `.finding[data-id="${id}"]`);
}

export function noFinding(page, id) {
  return waitUntil(`no finding ${id}`, async () => (await page.locator(`.finding[data-id="${id}"]`).count()) === 0);
}

/** What axe-core finds, one line each. */
export async function axe(page) {
  await page.evaluate(axeSource);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  return violations.flatMap((one) => one.nodes.map((node) => `${one.id} (${one.impact}): ${node.target} ${node.failureSummary}`));
}

/** The whole number in a text like "1,234 records". */
export const number = (text) => Number(text.replace(/[^\d.−-]/g, ''));
