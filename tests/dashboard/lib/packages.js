// The suite's packages, as package-lock.json pins them, in the user's cache folder: the tree stays clean,
// and one installation serves all. Chromium is the system's own.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = dirname(dirname(fileURLToPath(import.meta.url)));
const FILES = ['package.json', 'package-lock.json'];

function folder() {
  const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'floodmark');
  const digest = createHash('sha256').update(readFileSync(join(HERE, FILES[1]))).digest('hex').slice(0, 12);
  return { cache, at: join(cache, `dashboard-${digest}`) };
}

/** Installs what is missing; gives the folder that holds `node_modules`. */
export function install() {
  const { cache, at } = folder();
  if (existsSync(join(at, 'node_modules'))) return at;
  mkdirSync(cache, { recursive: true });
  const fresh = mkdtempSync(join(cache, 'dashboard-new-'));
  for (const file of FILES) copyFileSync(join(HERE, file), join(fresh, file));
  execFileSync('npm', ['ci', '--no-audit', '--no-fund', '--ignore-scripts'], { cwd: fresh, stdio: ['ignore', 'ignore', 'inherit'] });
  try {
    renameSync(fresh, at);
  } catch (error) {
    // Another run was faster: its folder is as good.
    rmSync(fresh, { recursive: true });
    if (!existsSync(join(at, 'node_modules'))) throw error;
  }
  return at;
}

const require = createRequire(join(install(), 'package.json'));
export const { chromium } = require('playwright-core');
/** axe-core's source, to be evaluated in a page. */
export const axeSource = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
