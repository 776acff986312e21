// "What is wrong?": draws the findings, and marks their places in the rail.
//
// Remembers since when each finding stands: the status itself does not say. Figures in a finding change each
// second; to a screen reader only the coming and going of problems and warnings is read out.

import { attribute, h, keyed, prose, text } from './dom.js';
import { clock, compact, counted, isNumber, perSecond, wholeSeconds } from './format.js';
import { findings } from './findings.js';
import { earlier } from './store.js';

const WORDS = { problem: 'Problem', warning: 'Warning', note: 'Note' };
const MARKS = { problem: '!', warning: '!', note: 'i' };

export function wrongView(place, announce, rail) {
  const since = {};
  let told = new Map();
  const list = h('ul', { class: 'findings' });
  const calm = h('p', { class: 'calm' });
  place.append(calm, list);

  return (state) => {
    const { status, connection, samples, restart } = state;
    const found = findings({
      status, connection, restart, since,
      before: earlier(state, 10),
      minuteAgo: earlier(state, 60),
      newest: { dead_letter: samples.dead_letter.newest },
    });
    remember(since, found, status);
    attribute(calm, 'hidden', !(status && found.every((one) => one.severity === 'note')));
    if (status) text(calm, `${found.length === 0 ? 'Nothing is wrong.' : 'Nothing urgent.'} ${summary(status)}`);
    keyed(list, found, (one) => one.id, create, (node, one) => update(node, one, since[one.id]));
    markRail(rail, found);
    told = tell(announce, told, new Map(found.filter((one) => one.severity !== 'note').map((one) => [one.id, one.title])));
  };
}

function remember(since, found, status) {
  for (const id of Object.keys(since)) if (!found.some((one) => one.id === id)) delete since[id];
  for (const { id } of found) since[id] ??= status?.now ?? null;
}

function tell(place, before, now) {
  const came = [...now].filter(([id]) => !before.has(id)).map(([, title]) => title);
  const went = [...before].filter(([id]) => !now.has(id)).map(([, title]) => `no longer: ${title}`);
  if (came.length + went.length > 0) text(place, [...came, ...went].join('. '));
  return now;
}

function summary(status) {
  return Object.entries(status.sources ?? {}).map(([name, source]) => {
    const partitions = counted(Object.keys(source.partitions ?? {}).length, 'partition');
    const watermark = isNumber(source.event_time_lag_seconds)
      ? `the watermark is ${wholeSeconds(source.event_time_lag_seconds)} behind the clock` : 'there is no watermark yet';
    return `${name}: ${perSecond(source.records_per_second)} records/s from ${partitions}, ${compact(source.lag_records)} not read yet; ${watermark}.`;
  }).join(' ');
}

function create(one) {
  return h('li', { class: 'finding' },
    h('span', { class: 'badge', 'aria-hidden': 'true' }, MARKS[one.severity]),
    h('div', {},
      h('h3', {}, h('span', { class: 'severity' }), h('a', { href: `#${one.target}` })),
      h('p', { class: 'what' }),
      h('p', { class: 'advice' })),
    h('span', { class: 'since' }));
}

function update(node, one, since) {
  attribute(node, 'data-severity', one.severity);
  attribute(node, 'data-id', one.id);
  text(node.querySelector('.badge'), MARKS[one.severity]);
  text(node.querySelector('.severity'), `${WORDS[one.severity]}: `);
  text(node.querySelector('a'), one.title);
  prose(node.querySelector('.what'), one.detail);
  const advice = node.querySelector('.advice');
  prose(advice, one.advice);
  attribute(advice, 'hidden', one.advice === '');
  text(node.querySelector('.since'), since ? `seen since ${clock(since)}` : '');
}

function markRail(rail, found) {
  const worst = new Map();
  for (const one of [...found].reverse()) worst.set(`#${one.target}`, one.severity);
  for (const link of rail.querySelectorAll('a')) {
    attribute(link, 'data-severity', worst.get(link.getAttribute('href')));
  }
}
