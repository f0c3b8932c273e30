/** The checks that need nothing but the stream itself. docs/spec/rewards.md 3.3, 5.2 to 5.4. */

import { BAD_REASONS, type BadReason, type QualityRules } from './quality-rules.ts';
import { limitInQuanta } from './quantum.ts';

/** Readings of one stream, in ascending time. */
export interface StreamReadings {
  readonly count: number;
  /** Unix µs. */
  readonly timesUs: Float64Array;
  /** As `quantumOf` gives them, NaN for one that is out of all bounds. */
  readonly quanta: Float64Array;
}

/** Of a reading: 0 where nothing is wrong with it, else 1 + the index of its reason. */
export type Verdict = number;

export function verdictOf(reason: BadReason): Verdict {
  return BAD_REASONS.indexOf(reason) + 1;
}

export function reasonOfVerdict(verdict: Verdict): BadReason | undefined {
  return BAD_REASONS[verdict - 1];
}

const CONFLICT = verdictOf('CONFLICT');
const BOUNDS = verdictOf('BOUNDS');
const JUMP = verdictOf('JUMP');
const STUCK = verdictOf('STUCK');

/**
 * Readings in any order, as ascending ones: of those of one time one is left, the smallest, bad if there were others.
 *
 * @returns the readings and the verdicts so far.
 */
export function arrange(
  readings: StreamReadings,
): StreamReadings & { readonly verdicts: Uint8Array } {
  const { count, timesUs, quanta } = isAscending(readings) ? readings : sorted(readings);
  const kept = { timesUs: new Float64Array(count), quanta: new Float64Array(count) };
  const verdicts = new Uint8Array(count);
  let length = 0;
  for (let at = 0; at < count; at += 1) {
    const quantum = quanta[at]!;
    if (length > 0 && kept.timesUs[length - 1] === timesUs[at]) {
      if (!Object.is(kept.quanta[length - 1], quantum)) verdicts[length - 1] = CONFLICT;
      continue;
    }
    kept.timesUs[length] = timesUs[at]!;
    kept.quanta[length] = quantum;
    length += 1;
  }
  return { count: length, ...kept, verdicts: verdicts.subarray(0, length) };
}

/**
 * Judges a stream.
 *
 * @param readings - as {@link arrange} gives them, from the rules' `lookBackMs` before the first that matters.
 * @param resolution - of the stream, in the unit of the rules' limits.
 * @param verdicts - written in place; a reading that has one keeps it.
 */
export function judgeStream(
  { count, timesUs, quanta }: StreamReadings,
  verdicts: Uint8Array,
  { rules, resolution }: { readonly rules: QualityRules; readonly resolution: number },
): void {
  const { bounds, jump, stuck } = rules;
  const [min, max] = bounds ?? [-Infinity, Infinity];
  const least = limitInQuanta(min, resolution, -Infinity);
  const most = limitInQuanta(max, resolution, Infinity);
  const jumpLimit = jump === undefined ? Infinity : limitInQuanta(jump.limit, resolution, Infinity);
  const withinUs = (jump?.withinMs ?? 0) * 1000;
  const isIn = (at: number): boolean => quanta[at]! >= least && quanta[at]! <= most;
  for (let at = 0; at < count; at += 1) {
    if (verdicts[at] !== 0) continue;
    if (!isIn(at)) verdicts[at] = BOUNDS;
    else if (
      at > 0 &&
      isIn(at - 1) &&
      timesUs[at]! - timesUs[at - 1]! <= withinUs &&
      Math.abs(quanta[at]! - quanta[at - 1]!) > jumpLimit
    ) {
      verdicts[at] = JUMP;
    }
  }
  if (stuck !== undefined) markStuck({ count, timesUs, quanta }, verdicts, { stuck, resolution });
}

function markStuck(
  { count, timesUs, quanta }: StreamReadings,
  verdicts: Uint8Array,
  {
    stuck,
    resolution,
  }: { readonly stuck: NonNullable<QualityRules['stuck']>; readonly resolution: number },
): void {
  const except = (stuck.except ?? []).map(
    ([min, max]) =>
      [
        limitInQuanta(min, resolution, -Infinity),
        limitInQuanta(max, resolution, Infinity),
      ] as const,
  );
  for (let from = 0, to = 0; from < count; from = to) {
    const quantum = quanta[from]!;
    for (to = from + 1; to < count && quanta[to] === quantum; ) to += 1;
    if (to - from < stuck.readings) continue;
    if (timesUs[to - 1]! - timesUs[from]! < stuck.afterMs * 1000) continue;
    if (except.some(([least, most]) => quantum >= least && quantum <= most)) continue;
    for (let at = from; at < to; at += 1) if (verdicts[at] === 0) verdicts[at] = STUCK;
  }
}

/** Each behind the one before. */
function isAscending({ count, timesUs }: StreamReadings): boolean {
  for (let at = 1; at < count; at += 1) if (timesUs[at]! <= timesUs[at - 1]!) return false;
  return true;
}

/** By time, then by quantum, those out of all bounds last. */
function sorted({ count, timesUs, quanta }: StreamReadings): StreamReadings {
  const order = Uint32Array.from({ length: count }, (_, at) => at).sort(
    (a, b) => timesUs[a]! - timesUs[b]! || rank(quanta[a]!) - rank(quanta[b]!) || 0,
  );
  return {
    count,
    timesUs: Float64Array.from(order, (at) => timesUs[at]!),
    quanta: Float64Array.from(order, (at) => quanta[at]!),
  };
}

function rank(quantum: number): number {
  return Number.isNaN(quantum) ? 2 ** 40 : quantum;
}
