/**
 * The state of windows as plain objects and back, for checkpoints: numbers, strings and arrays only, so that CBOR,
 * JSON or structured clone can carry it. Applying the same tables to a restored state gives the
 * same rows.
 */

import type { OpenWindow, Series, WindowBucket, WindowOptions, WindowState } from './window.ts';
import { createWindowState, seriesKey } from './window.ts';

const FORMAT = 1;

export interface PlainWindowState {
  readonly format: number;
  readonly options: WindowOptions;
  /** null for "nothing forgotten yet". */
  readonly forgottenMs: number | null;
  readonly buckets: readonly {
    readonly startMs: number;
    readonly windows: readonly OpenWindow[];
    readonly versions: readonly (readonly [string, number])[];
  }[];
  readonly tooLate: readonly { readonly series: Series; readonly count: number }[];
}

/** A copy of the state that later changes do not touch. */
export function windowStateToPlain(state: WindowState): PlainWindowState {
  return structuredClone({
    format: FORMAT,
    options: state.options,
    forgottenMs: Number.isFinite(state.forgottenMs) ? state.forgottenMs : null,
    buckets: [...state.buckets].map(([startMs, { windows, versions }]) => ({
      startMs,
      windows: [...windows.values()],
      versions: [...versions],
    })),
    tooLate: [...state.tooLate.values()],
  });
}

/**
 * The state that `windowStateToPlain` gave; `plain` is copied.
 *
 * @throws {RangeError} for another format or options out of range.
 */
export function windowStateFromPlain(plain: PlainWindowState): WindowState {
  if (plain.format !== FORMAT) {
    throw new RangeError(`window state: expected format ${FORMAT}, got ${plain.format}`);
  }
  const state = createWindowState(plain.options);
  state.forgottenMs = plain.forgottenMs ?? Number.NEGATIVE_INFINITY;
  const { buckets, tooLate } = structuredClone({ buckets: plain.buckets, tooLate: plain.tooLate });
  for (const { startMs, windows, versions } of buckets) {
    const bucket: WindowBucket = {
      windows: new Map(windows.map((window) => [seriesKey(window.series), window])),
      dirty: new Set(windows.filter(({ isDirty }) => isDirty)),
      versions: new Map(versions),
    };
    state.buckets.set(startMs, bucket);
  }
  for (const entry of tooLate) state.tooLate.set(seriesKey(entry.series), entry);
  return state;
}
