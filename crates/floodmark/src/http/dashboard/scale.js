// A time axis: how much to show, where its marks go, and which pixel a moment is at.
//
// Pure.

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
const DAY = 86400;

/** The least span of the list that holds `seconds`, so that the picture does not change its scale each second. */
export function span(seconds) {
  const steps = [30, 60, 90, 120, 180, 300, 420, 600, 900, 1200, 1800, 2700, 3600, 5400, 7200, 10800, 21600, 43200, DAY];
  return steps.find((step) => step >= seconds) ?? Math.ceil(seconds / DAY) * DAY;
}

/** Marks at round times between two moments (milliseconds), at most `most`. */
export function ticks(from, to, most) {
  const least = (to - from) / 1000 / Math.max(1, most);
  const seconds = STEPS.find((one) => one >= least) ?? Math.ceil(least / DAY) * DAY;
  const step = seconds * 1000;
  const marks = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) marks.push(at);
  return { marks, seconds };
}

/** From milliseconds to pixels. */
export function linear(from, to, left, right) {
  const perMs = (right - left) / Math.max(1, to - from);
  return (at) => left + (at - from) * perMs;
}

/** Puts intervals into as few lanes as keep them apart; gives each its lane. */
export function lanes(intervals) {
  const ends = [];
  return intervals.map(({ from, to }) => {
    let lane = ends.findIndex((end) => end <= from);
    if (lane === -1) lane = ends.length;
    ends[lane] = to;
    return lane;
  });
}

/** The points of a spark line as an SVG path, newest at the right; it is broken where points are further apart than `gap`. */
export function sparkPath(points, width, height, { margin = 2, gap = Infinity } = {}) {
  if (points.length === 0) return '';
  const values = points.map((point) => point.value);
  const least = Math.min(...values);
  const most = Math.max(...values);
  const first = points[0].at;
  const last = points.at(-1).at;
  const x = linear(first, Math.max(last, first + 1), margin, width - margin);
  const y = (value) => (most === least ? height / 2 : height - margin - ((value - least) / (most - least)) * (height - 2 * margin));
  return points.map((point, at) => `${at === 0 || point.at - points[at - 1].at > gap ? 'M' : 'L'}${x(point.at).toFixed(1)} ${y(point.value).toFixed(1)}`).join('');
}
