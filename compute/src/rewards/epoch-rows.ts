/**
 * The rows of an epoch: what each device earns, and why. A pure function of what was judged and the policy's terms.
 * docs/spec/rewards.md sections 6 to 9.
 */

import { byLargestRemainder, splitPool } from './amounts.ts';
import { densities } from './density.ts';
import type { EpochDevice, EpochTime, TelemetryPolicy } from './epoch-input.ts';
import { type JudgedDevice, judgeEpoch } from './epoch-judge.ts';
import type { BadReason } from './quality-rules.ts';
import { PPM } from './slot-credit.ts';
import type { StreamScore } from './stream-slots.ts';

/** Why a device has nothing: the first stage behind which nothing was left. */
export type ZeroReason =
  | 'BARRED'
  | 'NO_DATA'
  | 'UNANCHORED'
  | 'SOURCE'
  | 'NOT_WANTED'
  | 'NO_CELL'
  | 'BAD_DATA'
  | 'RELOCATED'
  | 'TOO_SMALL';

export interface StreamRow {
  readonly metric: string;
  /** ppm */
  readonly fill: number;
  readonly quality: number;
  readonly points: bigint;
  /** Micro-credits of the row's. */
  readonly amount: bigint;
  readonly bad: Readonly<Partial<Record<BadReason, number>>>;
}

export interface RewardRow {
  readonly device: string;
  readonly owner: string;
  readonly amount: bigint;
  readonly points: bigint;
  /** ppm */
  readonly density: number;
  readonly relocation: number;
  readonly corroboration: number;
  /** Micro-credits that caps took. */
  readonly capped: bigint;
  /** By metric, ascending; those that gave nothing too. */
  readonly streams: readonly StreamRow[];
  readonly zero: ZeroReason | null;
}

export interface EpochRows {
  /** By device, ascending. */
  readonly rows: readonly RewardRow[];
  /** Micro-credits of the pool that nobody gets. */
  readonly unallocated: bigint;
  /** Of all devices together. */
  readonly points: bigint;
}

export function epochRows(
  devices: readonly EpochDevice[],
  time: EpochTime,
  policy: TelemetryPolicy,
): EpochRows {
  const scored = judgeEpoch(
    [...devices].sort((a, b) => order(a.device, b.device)),
    time,
  ).map((judged) => ({ ...judged, scores: scoresOf(judged, policy) }));
  const densityOf = densityByCell(scored, policy);
  const claims = scored.map(({ device, scores, isLone }) => {
    const factors = {
      density: densityFor(device, densityOf),
      relocation: relocationPpm(device.movedEpochsAgo, policy.relocation),
      corroboration: isLone ? policy.lonePpm : PPM,
    };
    const points = scores.map(({ weight, score }) => pointsOf(weight, score.score, factors));
    return { device, scores, factors, points };
  });
  const split = splitPool(
    claims.map(({ device, points }) => ({
      device: device.device,
      owner: device.owner,
      points: sum(points),
    })),
    { pool: policy.pool, fullPoints: policy.fullPoints, ...policy.caps },
  );
  const rows = claims.map(({ device, scores, factors, points }, at): RewardRow => {
    const { amount, capped } = split.shares[at]!;
    const amounts = byLargestRemainder(amount, points);
    const streams = scores.map(
      ({ metric, score: { fill, quality, bad } }, each): StreamRow => ({
        ...{ metric, fill, quality, bad },
        points: points[each]!,
        amount: amounts[each]!,
      }),
    );
    return {
      ...{ device: device.device, owner: device.owner, amount, points: sum(points) },
      ...{ ...factors, capped, streams },
      zero: amount > 0n ? null : zeroReason(device, streams, factors),
    };
  });
  return { rows, unallocated: split.unallocated, points: sum(rows.map(({ points }) => points)) };
}

/** @param moved - whole epochs since the one of the last move, undefined without one. */
export function relocationPpm(
  moved: number | undefined,
  rules: TelemetryPolicy['relocation'],
): number {
  if (moved === undefined || rules === null) return PPM;
  const { freezeEpochs } = rules;
  const ramp = Math.max(1, rules.rampEpochs);
  if (moved < freezeEpochs) return 0;
  return Math.floor((PPM * Math.min(ramp, moved - freezeEpochs + 1)) / ramp);
}

interface Factors {
  readonly density: number;
  readonly relocation: number;
  readonly corroboration: number;
}

interface Scored {
  readonly metric: string;
  readonly weight: number;
  readonly score: StreamScore;
}

function scoresOf({ streams }: JudgedDevice, { fillPpm }: TelemetryPolicy): Scored[] {
  return streams
    .map((slots) => ({
      metric: slots.stream.metric,
      weight: slots.stream.weight,
      score: slots.score(fillPpm),
    }))
    .sort((a, b) => order(a.metric, b.metric));
}

/** A device is present with the fill of its best stream. */
function densityByCell(
  scored: readonly { readonly device: EpochDevice; readonly scores: readonly Scored[] }[],
  { density }: TelemetryPolicy,
): ReadonlyMap<string, number> | null {
  if (density === null) return null;
  const presence = new Map<string, number>();
  for (const { device, scores } of scored) {
    const fill = Math.max(0, ...scores.map(({ score }) => score.fill));
    if (device.cell === '' || fill === 0) continue;
    presence.set(device.cell, (presence.get(device.cell) ?? 0) + fill);
  }
  return densities(presence, density.levels, density.occupiedPpm);
}

function densityFor({ cell }: EpochDevice, found: ReadonlyMap<string, number> | null): number {
  if (found === null) return PPM;
  return cell === '' ? 0 : (found.get(cell) ?? PPM);
}

function pointsOf(weight: number, score: number, factors: Factors): bigint {
  const { density, relocation, corroboration } = factors;
  const whole = BigInt(PPM);
  const placed = (BigInt(weight) * BigInt(score) * BigInt(density)) / whole;
  return (((placed * BigInt(relocation)) / whole) * BigInt(corroboration)) / whole;
}

function zeroReason(
  { counts, leftOut, cell }: EpochDevice,
  streams: readonly StreamRow[],
  { density, relocation }: Factors,
): ZeroReason {
  if (!counts.includes(1)) return 'BARRED';
  if (streams.every(({ fill }) => fill === 0)) {
    if (leftOut.unwanted > 0) return 'NOT_WANTED';
    if (leftOut.source > 0) return 'SOURCE';
    return leftOut.unanchored > 0 ? 'UNANCHORED' : 'NO_DATA';
  }
  if (density === 0 && cell === '') return 'NO_CELL';
  if (streams.every(({ quality }) => quality === 0)) return 'BAD_DATA';
  return relocation === 0 ? 'RELOCATED' : 'TOO_SMALL';
}

function sum(numbers: readonly bigint[]): bigint {
  return numbers.reduce((total, each) => total + each, 0n);
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
