// The dashboard: makes the store, the line to Floodmark and the views, and ties them together.
//
//   connection ─> store ─> frame ─> views          (data goes one way)
//
// One module per idea; each says at its top what it shows. No framework, no build step, no request to
// anywhere but the server that this page came from.

import { alertsView } from './alerts.js';
import { checkpointsView } from './checkpoints.js';
import { connect } from './connection.js';
import { byId } from './dom.js';
import { figuresView } from './figures.js';
import { createFrame } from './frame.js';
import { graphView } from './graph.js';
import { headerView } from './header.js';
import { lateView } from './late.js';
import { ledgerView } from './ledger.js';
import { lettersView } from './letters.js';
import { logView } from './log.js';
import { outputsView } from './outputs.js';
import { plotsView } from './plots.js';
import { createStore } from './store.js';
import { watermarkView } from './watermark.js';
import { windowsView } from './windows.js';
import { wrongView } from './wrong.js';

/** Rows that come in by the hundred are drawn a few times a second: nobody reads faster. */
const CALM_MS = 250;

let frame = null;
const store = createStore((topic) => frame?.mark(topic));
frame = createFrame(store.state);

frame.add(['status', 'connection', 'pause'], headerView(byId('top')), { always: true });
frame.add(['status', 'connection', 'dead_letter'], wrongView(byId('findings'), byId('announce'), byId('rail')), { always: true, everyMs: CALM_MS });
frame.add(['status'], figuresView(byId('figures')));
frame.add(['status'], graphView(byId('stage'), byId('graph-detail')));
frame.add(['status'], watermarkView(byId('watermarks')));
frame.add(['status', 'window'], windowsView(byId('window-cards')), { everyMs: CALM_MS });
frame.add(['status', 'alert'], alertsView(byId('alert-cards')), { everyMs: CALM_MS });
frame.add(['status'], ledgerView(byId('ledgers')));
frame.add(['status', 'dead_letter'], lettersView(byId('letter-card')), { everyMs: CALM_MS });
frame.add(['status', 'late'], lateView(byId('late-card')), { everyMs: CALM_MS });
frame.add(['status'], outputsView(byId('output-card')));
frame.add(['status', 'checkpoint'], checkpointsView(byId('checkpoint-card')), { everyMs: CALM_MS });
frame.add(['status', 'theme'], plotsView(byId('plot-cards')));
frame.add(['status', 'log'], logView(byId('log-card')), { everyMs: CALM_MS });

byId('pause').addEventListener('click', () => {
  store.setPaused(!store.state.paused);
  if (!store.state.paused) frame.markAll();
});
document.documentElement.addEventListener('theme', () => frame.markAll());

connect(store);
