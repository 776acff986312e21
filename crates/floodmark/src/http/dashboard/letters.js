// Dead letters: newest first, with their reasons counted, and the bytes of the chosen one.

import { attribute, h, keyed, share, text } from './dom.js';
import { bytes, cell, clock, count, counted, percent } from './format.js';
import { dump, fromBase64, visible } from './hex.js';

const SHOWN = 50;
const REASONS = 6;

export function lettersView(card) {
  let chosen = null;
  let byHand = false;
  const words = h('p', { class: 'count' });
  const reasons = h('ul', { class: 'reasons' });
  const list = h('ul', { class: 'letters', 'aria-label': 'Newest dead letters' });
  const detail = h('div', { class: 'letter' });
  const halves = h('div', { class: 'master' }, h('div', { class: 'tall scroll', tabindex: '0', role: 'region', 'aria-label': 'List of dead letters' }, list), detail);
  card.append(words, reasons, halves);

  function choose(letter, hand) {
    chosen = keyOf(letter);
    byHand = hand;
    for (const button of list.querySelectorAll('button')) attribute(button, 'aria-pressed', String(button.dataset.key === chosen));
    if (detail.dataset.key !== chosen) draw(detail, letter);
  }

  return (state) => {
    if (!state.status) return;
    const letters = state.samples.dead_letter.latest(SHOWN);
    text(words, summary(state.status, letters.length));
    drawReasons(reasons, state.samples.dead_letter.items);
    attribute(halves, 'hidden', letters.length === 0);
    keyed(list, letters, keyOf, (letter) => h('li', {},
      h('button', { type: 'button', 'data-key': keyOf(letter), 'aria-pressed': 'false', onclick: () => choose(letter, true) },
        h('span', { class: 'time' }, clock(letter.at)), h('span', { class: 'reason' }, cell(letter.row?.reason, 120)),
        h('span', { class: 'quiet' }, bytes(letter.row?.length)))));
    // The newest is shown until the reader chooses one; a choice stays while it is in the list.
    const kept = byHand ? letters.find((letter) => keyOf(letter) === chosen) : null;
    if (letters.length > 0) choose(kept ?? (byHand && detail.dataset.key ? { ...detail.letter } : letters[0]), byHand);
  };
}

const keyOf = (letter) => `${letter.run}/${letter.seq}`;

function summary(status, shown) {
  if (status.dead_letter === null) return 'This pipeline keeps no dead letters.';
  const rows = status.dead_letter?.rows;
  if (!rows && shown === 0) return 'None: every record could be read.';
  return `${counted(rows, 'record')} kept so far${shown > 0 ? `; the newest ${count(shown)} are here.` : ', none since this page was opened.'}`;
}

/** The reasons among what is in memory, most frequent first. What differs from record to record is left out. */
function drawReasons(list, letters) {
  const counts = new Map();
  for (const letter of letters) {
    const reason = kindOfReason(letter.row?.reason);
    counts.set(reason, (counts.get(reason) ?? 0) + 1);
  }
  const most = [...counts].sort((a, b) => b[1] - a[1]).slice(0, REASONS);
  attribute(list, 'hidden', most.length < 2);
  keyed(list, most, ([reason]) => reason, ([reason]) => h('li', {}, h('span', { class: 'reason' }, cell(reason, 90)), h('span', { class: 'meter' }, h('span', { class: 'fill' })), h('span', { class: 'number' })), (item, [, many]) => {
    share(item.querySelector('.fill'), many / letters.length);
    text(item.querySelector('.number'), `${count(many)} of ${count(letters.length)} (${percent(many / letters.length)})`);
  });
}

/** A reason without positions and the value in it, so that alike ones count together. */
export function kindOfReason(reason) {
  return String(reason ?? 'not known').replace(/'.*' is not/, '… is not').replace(/byte \d+/g, 'byte N');
}

function draw(place, letter) {
  const row = letter.row ?? {};
  const content = fromBase64(row.bytes_base64);
  const whole = content.length > 0 || row.length === 0 ? content : new TextEncoder().encode(row.bytes ?? '');
  place.dataset.key = keyOf(letter);
  place.letter = letter;
  const pre = (label, words) => h('pre', { tabindex: '0', role: 'region', 'aria-label': label }, words);
  const fact = (name, value) => h('div', {}, h('dt', {}, name), h('dd', {}, value));
  place.replaceChildren(
    h('h3', { class: 'why' }, cell(row.reason, 400)),
    h('dl', { class: 'pairs' },
      fact('From', `${row.topic ?? 'no topic'}, partition ${row.partition ?? '–'}, offset ${count(row.offset)}`),
      fact('Record time', row.timestamp ?? '–'),
      fact('Length', `${bytes(row.length)}${whole.length < row.length ? `, the first ${bytes(whole.length)} here` : ''}`)),
    h('h4', {}, 'As text', row.bytes === null ? h('span', { class: 'quiet' }, ' (it is no UTF-8)') : null),
    pre('The record as text', whole.length === 0 ? '(no bytes)' : visible(whole)),
    h('h4', {}, 'As bytes'),
    pre('The record as a hex dump', whole.length === 0 ? '(no bytes)' : dump(whole)));
}
