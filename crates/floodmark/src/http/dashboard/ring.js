// Memory that does not grow: a ring of the newest things, and columns of figures over time.
//
// Pure. The dashboard may stay open for days; everything that it remembers is one of these.

/** The newest `limit` items, oldest first. */
export class Ring {
  constructor(limit) {
    this.limit = limit;
    this.items = [];
    /** How many came in altogether. */
    this.total = 0;
  }

  push(item) {
    this.total += 1;
    this.items.push(item);
    // In steps, so that a full ring does not move all of its items for each new one.
    if (this.items.length >= this.limit * 1.25) this.items = this.items.slice(-this.limit);
  }

  get newest() {
    return this.items.at(-1) ?? null;
  }

  /** The newest `many`, newest first. */
  latest(many) {
    return this.items.slice(-Math.min(many, this.limit)).reverse();
  }
}

/** Seconds without a point from which a gap is left in the columns. */
export const GAP_SECONDS = 5;

/** Figures by name over time, as columns of equal length; what is not known is null. */
export class History {
  constructor(limit) {
    this.limit = limit;
    this.times = [];
    this.columns = new Map();
  }

  push(seconds, figures) {
    const last = this.times.at(-1) ?? seconds;
    if (this.times.length > 0 && seconds <= last) return;
    if (seconds - last > GAP_SECONDS) this.append(last + 1, {});
    this.append(seconds, figures);
  }

  append(seconds, figures) {
    for (const name of Object.keys(figures)) {
      if (!this.columns.has(name)) this.columns.set(name, this.times.map(() => null));
    }
    this.times.push(seconds);
    for (const [name, column] of this.columns) column.push(figures[name] ?? null);
    if (this.times.length <= this.limit) return;
    this.times.shift();
    for (const [name, column] of this.columns) {
      column.shift();
      // An output that a restart has removed goes with its last figure.
      if (column.every((value) => value === null)) this.columns.delete(name);
    }
  }

  column(name) {
    return this.columns.get(name) ?? this.times.map(() => null);
  }
}
