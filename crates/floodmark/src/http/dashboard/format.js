// Figures as people read them: thousands separated, a unit on everything, times in UTC.
//
// Pure. What is not known is `UNKNOWN`, never 0 or NaN. A figure and its unit stay on one line.

export const UNKNOWN = '–';
/** Between a figure and its unit: a space at which no line breaks. */
const NB = '\u00a0';

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const oneDigit = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const upToThree = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });

export const isNumber = (value) => typeof value === 'number' && Number.isFinite(value);

/** 1234567 -> "1,234,567". */
export function count(value) {
  return isNumber(value) ? whole.format(value) : UNKNOWN;
}

/** A number with its noun: "1 row", "2 rows". */
export function counted(value, one, many = `${one}s`) {
  return `${count(value)}${NB}${value === 1 ? one : many}`;
}

/** For places with little room: 1234567 -> "1.23 M". */
export function compact(value) {
  if (!isNumber(value)) return UNKNOWN;
  for (const [size, unit] of [[1e9, 'G'], [1e6, 'M']]) {
    if (Math.abs(value) >= size) return `${upToThree.format(value / size)}${NB}${unit}`;
  }
  return whole.format(value);
}

/** Per second, without the noun: 0.42, 50.1, 12,300. */
export function perSecond(value) {
  if (!isNumber(value)) return UNKNOWN;
  if (value === 0) return '0';
  if (Math.abs(value) < 0.01) return 'under 0.01';
  return Math.abs(value) >= 1000 ? compact(value) : upToThree.format(value);
}

/** "50.1 rows/s". */
export function rate(value, noun) {
  return isNumber(value) ? `${perSecond(value)}${NB}${noun}/s` : UNKNOWN;
}

/** Bytes in decimal units: "4.2 kB". */
export function bytes(value) {
  if (!isNumber(value)) return UNKNOWN;
  for (const [size, unit] of [[1e12, 'TB'], [1e9, 'GB'], [1e6, 'MB'], [1e3, 'kB']]) {
    if (Math.abs(value) >= size) return `${upToThree.format(value / size)}${NB}${unit}`;
  }
  return `${whole.format(value)}${NB}B`;
}

/** Seconds as "0 s", "5 s", "850 µs", "12 ms", "3.2 s", "2 min 5 s", "1 h 3 min", "2 d 4 h". */
export function duration(seconds) {
  if (!isNumber(seconds)) return UNKNOWN;
  if (seconds < 0) return `−${duration(-seconds)}`;
  if (Number.isInteger(seconds) && seconds < 60) return `${seconds}${NB}s`;
  if (seconds < 0.001) return `${whole.format(seconds * 1e6)}${NB}µs`;
  if (seconds < 0.9995) return `${whole.format(seconds * 1e3)}${NB}ms`;
  if (seconds < 59.95) return `${oneDigit.format(seconds)}${NB}s`;
  const full = Math.round(seconds);
  if (full < 3600) return two(Math.floor(full / 60), 'min', full % 60, 's');
  const minutes = Math.floor(full / 60);
  if (minutes < 1440) return two(Math.floor(minutes / 60), 'h', minutes % 60, 'min');
  const hours = Math.floor(minutes / 60);
  return two(Math.floor(hours / 24), 'd', hours % 24, 'h');
}

/** The same without fractions, for what counts up or down by the second. */
export function wholeSeconds(seconds) {
  return isNumber(seconds) && Math.abs(seconds) < 60 ? `${Math.round(seconds)}${NB}s` : duration(seconds);
}

const two = (big, bigUnit, small, smallUnit) =>
  small === 0 ? `${big}${NB}${bigUnit}` : `${big}${NB}${bigUnit} ${small}${NB}${smallUnit}`;

/** A share of one: 0.0123 -> "1.2 %". */
export function percent(share) {
  if (!isNumber(share)) return UNKNOWN;
  if (share > 0 && share < 0.001) return `under 0.1${NB}%`;
  return `${share >= 0.1 || share === 0 ? whole.format(share * 100) : oneDigit.format(share * 100)}${NB}%`;
}

/** Milliseconds since 1970 of an RFC 3339 text, or null. */
export function millis(text) {
  if (typeof text !== 'string') return null;
  const parsed = Date.parse(text);
  return Number.isNaN(parsed) ? null : parsed;
}

const pad = (value, width = 2) => String(value).padStart(width, '0');

/** "13:59:49", in UTC; `fraction` adds milliseconds. Takes RFC 3339 text or milliseconds. */
export function clock(time, { fraction = false, seconds = true } = {}) {
  const ms = typeof time === 'number' ? time : millis(time);
  if (!isNumber(ms)) return UNKNOWN;
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return UNKNOWN;
  const hm = `${pad(date.getUTCHours())}:${pad(date.getUTCMinutes())}`;
  if (!seconds) return hm;
  return `${hm}:${pad(date.getUTCSeconds())}${fraction ? `.${pad(date.getUTCMilliseconds(), 3)}` : ''}`;
}

/** "2026-11-29 13:59:49", in UTC. */
export function dateClock(time) {
  const ms = typeof time === 'number' ? time : millis(time);
  if (!isNumber(ms) || Number.isNaN(new Date(ms).getTime())) return UNKNOWN;
  return `${new Date(ms).toISOString().slice(0, 10)} ${clock(ms)}`;
}

/** Only the time if it is the day of `reference`, else the date too. */
export function near(time, reference) {
  const ms = typeof time === 'number' ? time : millis(time);
  if (!isNumber(ms) || !isNumber(reference)) return clock(ms);
  return Math.floor(ms / 864e5) === Math.floor(reference / 864e5) ? clock(ms) : dateClock(ms);
}

/** A value of a JSON row on one line, shortened. */
export function cell(value, limit = 80) {
  if (value === null || value === undefined) return 'null';
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value);
  return text.length > limit ? `${text.slice(0, limit - 1)}…` : text;
}
