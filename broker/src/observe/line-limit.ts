/**
 * At most so many lines of one kind in a while, and a count of those left out: a flood must not fill the disk, nor hide
 * the first lines of it. Pure: times are passed in.
 */

export interface LineLimits {
  /** Lines of one kind in a window. */
  readonly lines: number;
  readonly windowMs: number;
}

export const LINE_LIMITS: LineLimits = { lines: 10, windowMs: 10_000 };

/** Kinds told apart; the others share one. Codes come from tables of ours, so this is for what was overlooked. */
const MAX_KINDS = 200;
const OTHERS = 'other';

interface Window {
  readonly endsAt: number;
  lines: number;
  suppressed: number;
}

export class LineLimit {
  readonly #limits: LineLimits;
  readonly #windows = new Map<string, Window>();

  constructor(limits: LineLimits = LINE_LIMITS) {
    this.#limits = limits;
  }

  /** Whether a line of this kind may be written now; one that may not is counted. */
  take(kind: string, now: number): boolean {
    const name = this.#windows.has(kind) || this.#hasRoom(now) ? kind : OTHERS;
    let window = this.#windows.get(name);
    if (window === undefined || (window.endsAt <= now && window.suppressed === 0)) {
      window = { endsAt: now + this.#limits.windowMs, lines: 0, suppressed: 0 };
      this.#windows.set(name, window);
    }
    // A window with suppressed lines goes on until `ended` has told of them.
    if (window.lines >= this.#limits.lines) {
      window.suppressed += 1;
      return false;
    }
    window.lines += 1;
    return true;
  }

  /** Whether there is something left to tell of. */
  get hasSuppressed(): boolean {
    for (const { suppressed } of this.#windows.values()) if (suppressed > 0) return true;
    return false;
  }

  /** Room for another kind; made of windows that are over and have nothing to tell. */
  #hasRoom(now: number): boolean {
    if (this.#windows.size < MAX_KINDS) return true;
    for (const [kind, { endsAt, suppressed }] of this.#windows) {
      if (endsAt <= now && suppressed === 0) this.#windows.delete(kind);
    }
    return this.#windows.size < MAX_KINDS;
  }

  /** Forgets the windows that are over. @returns of which kind how many lines were left out in them. */
  ended(now: number): readonly (readonly [kind: string, suppressed: number])[] {
    const told: [string, number][] = [];
    for (const [kind, { endsAt, suppressed }] of this.#windows) {
      if (endsAt > now) continue;
      this.#windows.delete(kind);
      if (suppressed > 0) told.push([kind, suppressed]);
    }
    return told;
  }
}
