// The bar at the top: which pipeline, in which phase, and how the line to it stands.

import { byId, attribute, text } from './dom.js';
import { clock, count, duration, wholeSeconds } from './format.js';

const PHASES = { starting: 'starting', running: 'running', draining: 'draining', finished: 'finished', failed: 'failed' };

export function headerView() {
  const [pipeline, phase, line, lineText, pause, about] =
    ['pipeline', 'phase', 'line', 'line-text', 'pause', 'about'].map(byId);

  return ({ status, connection, paused, receivedAt }) => {
    const lost = connection.state !== 'live';
    attribute(line, 'data-state', connection.state);
    text(lineText, lineWords(connection, receivedAt));
    attribute(pause, 'aria-pressed', String(paused));
    text(pause, paused ? 'Go on' : 'Pause');
    attribute(document.body, 'data-paused', paused);
    attribute(document.body, 'data-lost', lost && status !== null);
    if (!status) return;
    text(pipeline, status.pipeline);
    text(phase, lost ? 'not known' : PHASES[status.phase] ?? status.phase);
    attribute(phase, 'data-phase', lost ? 'unknown' : status.phase);
    attribute(phase, 'title', `running for ${wholeSeconds(status.elapsed_seconds)}, since ${clock(status.started_at)} UTC`);
    const title = `${lost ? '(lost) ' : ''}${status.pipeline}: Floodmark`;
    if (document.title !== title) document.title = title;
    text(about, `Floodmark ${status.version}, instance ${status.instance}, started ${status.started_at}, up ${duration(status.elapsed_seconds)}. All times are UTC.`);
  };
}

function lineWords(connection, receivedAt) {
  switch (connection.state) {
    case 'live': return 'live';
    case 'lost': return `connection lost at ${clock(receivedAt ?? connection.since)}: reconnecting, attempt ${count(Math.max(1, connection.attempts))}`;
    default: return connection.attempts > 0 ? `no answer: attempt ${count(connection.attempts)}` : 'connecting';
  }
}
