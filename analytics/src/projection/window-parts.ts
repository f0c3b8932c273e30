/**
 * The windows behind a window service, in parts: what the entries of one log have put into them, what those of another
 * have, and what plain readings have. Rows are made of all parts. So a log that went back has its own part forgotten and
 * made again, nothing of the others is lost, and each part is as far in time as its own reading.
 *
 * No I/O: the state is given out as plain values, whole or what has changed.
 */
import type { ReadingTable } from '@fieldproof/compute/readings';
import {
  applyTable,
  closeParts,
  createWindowState,
  reopenShared,
  type WindowOptions,
  type WindowPart,
  type WindowRow,
  type WindowState,
} from '@fieldproof/compute/window';
import {
  applyChanges,
  type PlainWindowState,
  takeChanges,
  type WindowChanges,
  windowStateFromPlain,
  windowStateToPlain,
} from '@fieldproof/compute/window-plain';

/** A batch that came so recently says how far behind the reading is. */
const CATCHING_UP_MS = 5000;

/** The part of readings that have no entry behind them; no stream is named so. */
export const PLAIN = '';

/** A whole state. */
export interface PlainParts {
  readonly windowMs: number;
  readonly parts: readonly (readonly [stream: string, windows: PlainWindowState])[];
}

/** What has changed since the change before; it may be applied to a state that has it. */
export interface PartChanges {
  /** Windows of this length were begun anew before it; null for no. */
  readonly anewMs: number | null;
  /** Streams whose windows were forgotten before it. */
  readonly forgotten: readonly string[];
  readonly parts: readonly (readonly [stream: string, windows: WindowChanges])[];
}

interface Part {
  readonly state: WindowState;
  /** How far behind the last batch was, and when it came. */
  lagMs: number;
  batchMs: number;
  /** How far the evidence has come, Unix ms. Nothing is forgotten by a clock that ran while no evidence came. */
  seenMs: number;
}

export class WindowParts {
  readonly #options: WindowOptions;
  readonly #parts = new Map<string, Part>();
  /** Since the last change that was taken. */
  #isAnew = false;
  #forgotten: string[] = [];

  constructor({ windowMs, graceMs, horizonMs }: WindowOptions) {
    this.#options = { windowMs, graceMs, horizonMs };
  }

  /**
   * The state that `toPlain` gave, with changes since.
   *
   * @param nowMs - Unix ms.
   * @returns of a state with windows of another length, no windows but the rows of those that have ended.
   */
  static restore(
    options: WindowOptions,
    saved: { readonly state: PlainParts; readonly changes: readonly PartChanges[] },
    nowMs: number,
  ): { readonly parts: WindowParts; readonly ended: readonly WindowRow[] } {
    const parts = new WindowParts(options);
    const { graceMs, horizonMs } = options;
    let { windowMs } = saved.state;
    const states = new Map(
      saved.state.parts.map(([stream, windows]) => [stream, windowStateFromPlain(windows)]),
    );
    for (const change of saved.changes) {
      if (change.anewMs !== null) {
        windowMs = change.anewMs;
        states.clear();
      }
      for (const stream of change.forgotten) states.delete(stream);
      for (const [stream, windows] of change.parts) {
        const state = states.get(stream) ?? createWindowState({ windowMs, graceMs, horizonMs });
        applyChanges(state, windows);
        states.set(stream, state);
      }
    }
    if (windowMs === options.windowMs) {
      for (const [stream, state] of states) {
        parts.#add(stream, { ...state, options: { windowMs, graceMs, horizonMs } });
      }
      return { parts, ended: [] };
    }
    parts.#isAnew = true;
    const old = { windowMs, graceMs: 0, horizonMs };
    const ended = closeParts(
      [...states.values()].map((state) => ({ state: { ...state, options: old }, nowMs })),
    );
    return { parts, ended };
  }

  get openWindows(): number {
    let count = 0;
    for (const { state } of this.#parts.values()) {
      for (const { windows } of state.buckets.values()) count += windows.size;
    }
    return count;
  }

  /**
   * Puts readings into the windows of a stream.
   *
   * @param at.atMs - the broker's time of what they came with, Unix ms; 0 for now.
   * @returns how many came too late.
   */
  apply(
    stream: string,
    tables: readonly ReadingTable[],
    at: { readonly atMs: number; readonly nowMs: number },
  ): number {
    const { atMs, nowMs } = at;
    const part = this.#parts.get(stream) ?? this.#add(stream, createWindowState(this.#options));
    let tooLate = 0;
    for (const table of tables) tooLate += applyTable(part.state, table).tooLate;
    part.batchMs = nowMs;
    part.lagMs = atMs > 0 ? Math.max(0, nowMs - atMs) : 0;
    part.seenMs = Math.max(part.seenMs, nowMs - part.lagMs);
    return tooLate;
  }

  /**
   * The rows of the windows that are due. While old evidence is being read, time is that of the evidence.
   *
   * @param isAtEnd - nothing more is to be read now: time is `nowMs`.
   */
  close(nowMs: number, isAtEnd: boolean): WindowRow[] {
    const parts = this.#ordered().map(({ state, batchMs, lagMs, seenMs }): WindowPart => {
      const isCatchingUp = !isAtEnd && nowMs - batchMs < CATCHING_UP_MS;
      return { state, nowMs: nowMs - (isCatchingUp ? lagMs : 0), seenMs };
    });
    return closeParts(parts);
  }

  /** Until a batch says where the reading is, or for a moment, nothing is due. */
  hold(nowMs: number): void {
    for (const part of this.#parts.values()) {
      part.batchMs = nowMs;
      part.lagMs = Number.POSITIVE_INFINITY;
    }
  }

  /** Forgets what a stream has put into the windows, and nothing else. */
  forget(stream: string): void {
    const gone = this.#parts.get(stream);
    if (gone === undefined) return;
    this.#parts.delete(stream);
    this.#forgotten.push(stream);
    for (const { state } of this.#parts.values()) reopenShared(state, gone.state);
  }

  toPlain(): PlainParts {
    const { windowMs } = this.#options;
    const parts = [...this.#parts].map(
      ([stream, { state }]) => [stream, windowStateToPlain(state)] as const,
    );
    return { windowMs, parts };
  }

  /** What has changed since the last call. */
  takeChanges(): PartChanges {
    const changes = {
      anewMs: this.#isAnew ? this.#options.windowMs : null,
      forgotten: this.#forgotten,
      parts: [...this.#parts].map(([stream, { state }]) => [stream, takeChanges(state)] as const),
    };
    this.#isAnew = false;
    this.#forgotten = [];
    return changes;
  }

  #add(stream: string, state: WindowState): Part {
    const seenMs = Number.NEGATIVE_INFINITY;
    const part: Part = { state, lagMs: 0, batchMs: Number.NEGATIVE_INFINITY, seenMs };
    this.#parts.set(stream, part);
    return part;
  }

  /** Plain readings last: of a series that has both, the evidence names cell and group. */
  #ordered(): Part[] {
    const streams = [...this.#parts.keys()].filter((stream) => stream !== PLAIN).sort();
    return [...streams, PLAIN].flatMap((stream) => this.#parts.get(stream) ?? []);
  }
}
