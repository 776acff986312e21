// What a row of unknown shape is about: who, when, how much. Guessed from names and values.
//
// Pure. Rows are whatever a query selects, so their columns are not known here.

import { isNumber, millis } from './format.js';

const MOST_COLUMNS = 10;
/** Names that say who a row is about. */
const WHO = /(^|_)(id|device|sensor|key|name|host)$/i;

/** The columns of some rows: times, who, figures, the rest, each in the order in which they were first seen. */
export function columnsOf(rows) {
  const names = namesOf(rows);
  const value = new Map(names.map((name) => [name, rows.find((row) => row?.[name] !== null && row?.[name] !== undefined)?.[name]]));
  const rank = (name) => (isTime(value.get(name)) ? 0 : WHO.test(name) ? 1 : isNumber(value.get(name)) ? 2 : 3);
  return names.sort((a, b) => rank(a) - rank(b));
}

function namesOf(rows) {
  const names = new Set();
  for (const row of rows) {
    for (const name of Object.keys(row ?? {})) {
      names.add(name);
      if (names.size === MOST_COLUMNS) return [...names];
    }
  }
  return [...names];
}

export const isTime = (value) => typeof value === 'string' && /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d/.test(value) && millis(value) !== null;

/** Columns that may name who a row is about (texts), best first: names that end in id, device, key, name. */
export function whoColumns(rows, columns) {
  const texts = columns.filter((name) => rows.some((row) => typeof row?.[name] === 'string' && !isTime(row[name])));
  return texts.sort((a, b) => WHO.test(b) - WHO.test(a));
}

/** Columns that hold a measured value. */
export function valueColumns(rows, columns) {
  return columns.filter((name) => rows.some((row) => isNumber(row?.[name])));
}

/** The moment a row is about: its first time, or when it was sampled. */
export function timeOf(sample, columns) {
  for (const name of columns) if (isTime(sample.row?.[name])) return millis(sample.row[name]);
  return millis(sample.at);
}

/** By `who`, busiest first, the points of `value` in the rows' own time: [{who, rows, last, points}]. */
export function series(samples, who, value, columns) {
  const groups = new Map();
  for (const sample of samples) {
    const key = String(sample.row?.[who] ?? 'null');
    const group = groups.get(key) ?? { who: key, rows: 0, last: null, points: [] };
    groups.set(key, group);
    group.rows += 1;
    const measured = sample.row?.[value];
    if (isNumber(measured)) {
      group.last = measured;
      group.points.push({ at: timeOf(sample, columns), value: measured });
    }
  }
  for (const group of groups.values()) group.points.sort((a, b) => a.at - b.at);
  return [...groups.values()].sort((a, b) => b.rows - a.rows || (a.who < b.who ? -1 : 1));
}
