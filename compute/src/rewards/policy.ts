/** The policy by which a network pays: its shape, its canonical bytes and its hash. docs/spec/rewards.md section 1. */

import { type CborValue, decode, encode } from '@fieldproof/protocol/cbor';
import { isMetric, isProfile } from '@fieldproof/protocol/readings-sink';
import { sha256 } from '@noble/hashes/sha2.js';
import { ComputeError } from '../errors.ts';
import {
  bytes,
  list,
  number,
  oneOf,
  orNull,
  pair,
  record,
  type Shaped,
  table,
  text,
  uint,
} from './shape.ts';
import { PPM } from './slot-credit.ts';

export const MAX_POLICY_BYTES = 60_000;
const MAX_SLOTS = 10_000;
/** Milliseconds of a hundred years. */
const CENTURY_MS = 36_525 * 86_400_000;

const ppm = uint({ max: PPM });
const limits = pair(number(), number());

const RULES = record(
  {},
  {
    bounds: limits,
    jump: record({ limit: number({ above: 0 }), withinMs: uint({ max: CENTURY_MS }) }),
    stuck: record(
      { afterMs: uint({ max: CENTURY_MS }), readings: uint({ min: 2 }) },
      { except: list(limits, { max: 16 }) },
    ),
    duplicate: record({
      readings: uint({ min: 1 }),
      values: uint({ min: 1 }),
      slots: uint({ min: 1 }),
    }),
    buddies: record({
      resolution: uint({ max: 15 }),
      owners: uint({ min: 1 }),
      spread: number({ above: 0 }),
      timesMad: uint({ max: 1000 }),
    }),
  },
);

const LEVEL = record({
  resolution: uint({ max: 15 }),
  n: uint({ min: 1, max: 7 }),
  target: uint({ min: 1, max: 1_000_000 }),
  max: uint({ min: 1, max: 1_000_000 }),
});

const POLICY = record({
  format: uint({ min: 1, max: 1 }),
  version: uint({ min: 1 }),
  /** Unix ms. */
  from: uint(),
  text: text({ min: 1, max: 4096 }),
  epoch: record({
    originMs: uint(),
    lengthMs: uint({ min: 1, max: CENTURY_MS }),
    slotMs: uint({ min: 1, max: CENTURY_MS }),
    graceMs: uint({ max: CENTURY_MS }),
    horizonMs: uint({ max: CENTURY_MS }),
  }),
  telemetry: record({
    pool: uint(),
    fullPoints: uint(),
    sources: list(oneOf(['sensor', 'replay', 'simulated']), { min: 1, max: 3 }),
    metrics: table(
      record({
        weight: uint({ max: 1_000_000 }),
        cadenceMs: uint({ min: 1, max: CENTURY_MS }),
        resolution: number({ above: 0 }),
        quality: orNull(text({ min: 1, max: 64 })),
      }),
      { expected: 'a name like profile/metric', allows: isStreamName, max: 1024 },
    ),
    fillPpm: uint({ min: 1, max: PPM }),
    density: orNull(
      record({ occupiedPpm: uint({ min: 1, max: PPM }), levels: list(LEVEL, { min: 1, max: 16 }) }),
    ),
    relocation: orNull(
      record({ freezeEpochs: uint({ max: 1_000_000 }), rampEpochs: uint({ max: 1_000_000 }) }),
    ),
    lonePpm: ppm,
    caps: record({ devicePpm: ppm, ownerPpm: ppm }),
  }),
  quality: table(RULES, {
    expected: 'a name of 1 to 64 characters',
    allows: (key) => key.length >= 1 && key.length <= 64,
    max: 256,
  }),
  stewards: record({
    keys: list(bytes(32), { max: 64 }),
    needed: uint({ max: 64 }),
    noticeEpochs: uint({ min: 1, max: 1_000_000 }),
  }),
});

export type Policy = Shaped<typeof POLICY>;

/** All mistakes of a policy: a plain object as YAML gives it, or decoded CBOR. Empty for a good one. */
export function policyProblems(value: unknown): readonly string[] {
  const problems: string[] = [];
  const policy = POLICY(value, '', problems);
  return problems.length > 0 ? problems : contradictions(policy);
}

/**
 * The canonical bytes of a policy.
 *
 * @throws {ComputeError} ERR_POLICY with all mistakes.
 */
export function encodePolicy(value: unknown): Uint8Array {
  const problems = policyProblems(value);
  if (problems.length > 0) throw refused(problems);
  const encoded = encode(value as CborValue);
  if (encoded.length > MAX_POLICY_BYTES) {
    throw refused([`policy: expected at most ${MAX_POLICY_BYTES} bytes, got ${encoded.length}`]);
  }
  return encoded;
}

/** @throws {ComputeError} ERR_POLICY; {ProtocolError} ERR_CBOR_… for bytes that are no deterministic CBOR. */
export function decodePolicy(encoded: Uint8Array): Policy {
  if (encoded.length > MAX_POLICY_BYTES)
    throw refused([`policy: expected at most ${MAX_POLICY_BYTES} bytes`]);
  const value = decode(encoded, { maxDepth: 8 });
  const problems: string[] = [];
  const policy = POLICY(value, '', problems);
  const all = problems.length > 0 ? problems : contradictions(policy);
  if (all.length > 0) throw refused(all);
  return policy;
}

/** SHA-256 of the canonical bytes: what statements name it by. */
export function policyHash(encoded: Uint8Array): Uint8Array {
  return sha256(encoded);
}

/** What no single value says. */
function contradictions({ epoch, telemetry, quality, stewards }: Policy): string[] {
  const problems: string[] = [];
  const { lengthMs, slotMs, graceMs, horizonMs } = epoch;
  if (lengthMs % slotMs !== 0) {
    problems.push(`epoch.slotMs: expected a divisor of lengthMs ${lengthMs}, got ${slotMs}`);
  } else if (lengthMs / slotMs > MAX_SLOTS) {
    problems.push(`epoch.slotMs: expected at most ${MAX_SLOTS} slots, got ${lengthMs / slotMs}`);
  }
  if (graceMs > horizonMs) {
    problems.push(`epoch.graceMs: expected at most horizonMs ${horizonMs}, got ${graceMs}`);
  }
  for (const [name, metric] of Object.entries(telemetry.metrics)) {
    if (metric.quality === null || Object.hasOwn(quality, metric.quality)) continue;
    const known = Object.keys(quality).join(', ') || 'none';
    problems.push(
      `telemetry.metrics.${name}.quality: expected one of quality (${known}), got "${metric.quality}"`,
    );
  }
  const resolutions = telemetry.density?.levels.map(({ resolution }) => resolution) ?? [];
  if (resolutions.some((each, at) => at > 0 && each >= resolutions[at - 1]!)) {
    problems.push('telemetry.density.levels: expected falling resolutions');
  }
  for (const [name, { bounds }] of Object.entries(quality)) {
    if (bounds === undefined || bounds[0] <= bounds[1]) continue;
    problems.push(
      `quality.${name}.bounds: expected the smaller one first, got ${bounds.join(', ')}`,
    );
  }
  if (stewards.needed > stewards.keys.length) {
    problems.push(`stewards.needed: expected at most ${stewards.keys.length}, the number of keys`);
  }
  return problems;
}

function isStreamName(name: string): boolean {
  const at = name.indexOf('/');
  return at > 0 && isProfile(name.slice(0, at)) && isMetric(name.slice(at + 1));
}

function refused(problems: readonly string[]): ComputeError {
  return new ComputeError('ERR_POLICY', problems.join('\n'));
}
