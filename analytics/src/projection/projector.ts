/**
 * The projector: from one entry of the evidence log and its body to reading tables, and to what has to be remembered
 * for later entries. Pure: the same log gives the same tables in the same order.
 *
 * The rules are docs/spec/telemetry.md 1.3 and 1.4 and docs/spec/processes.md 4: a batch with a clock bound has Unix
 * times; one without counts from its sealing, and is placed by the newest time anchor of its boot, or waits for the
 * first one. Signatures were checked by the broker; bodies are still decoded as if they came from outside, and what
 * cannot be read is counted, never thrown.
 */
import { createHash } from 'node:crypto';
import { readingTables } from '@fieldproof/compute/reading-tables';
import type { ReadingTable } from '@fieldproof/compute/readings';
import { decode } from '@fieldproof/protocol/cbor';
import { deviceIdFromPublicKey, publicKeyFromDeviceId } from '@fieldproof/protocol/did-key';
import { decodeEdgeResult, summarizeEdgeResult } from '@fieldproof/protocol/edge-result';
import { CONTENT_TYPES, parseEnvelope, type Stamp } from '@fieldproof/protocol/envelope';
import { FieldproofError } from '@fieldproof/protocol/errors';
import type { Frame } from '@fieldproof/protocol/frame';
import {
  type BatchEntry,
  decodeEvidenceEntry,
  type RegistryEntry,
  type TimeAnchorEntry,
} from '@fieldproof/protocol/log-entries';
import { decodeBirth } from '@fieldproof/protocol/messages';
import {
  decodeTelemetry,
  summarize,
  type TelemetrySummary,
} from '@fieldproof/protocol/readings-decode';
import { type DecodedReadings, ReadingSink } from '@fieldproof/protocol/readings-sink';
import {
  type BootKey,
  type DeviceFields,
  findBoot,
  type ProjectorState,
  type StateChange,
} from './projector-state.ts';

/** What one entry comes to. `at` is the broker's time, Unix ms, where the entry has one. */
export type Outcome =
  | { readonly type: 'readings'; readonly tables: readonly ReadingTable[] }
  /** Recorded, waits for a time anchor of its boot. */
  | { readonly type: 'waiting' }
  /** The body was erased and replaced by zeros; a tombstone says so. */
  | { readonly type: 'erased' }
  /** Cannot be read, with the code that says why. */
  | { readonly type: 'unprojectable'; readonly code: string; readonly message: string }
  /** Carries no readings. */
  | { readonly type: 'none' };

export interface ProjectedEntry {
  readonly outcome: Outcome;
  /** To be applied in this order before the next entry is projected. */
  readonly changes: readonly StateChange[];
  /** Entries that can be placed once the changes are applied: project them again, in this order. */
  readonly released: readonly number[];
  /** Unix ms at the broker; undefined for entries without one. */
  readonly atMs: number | undefined;
}

const NONE: Outcome = { type: 'none' };
const sink = new ReadingSink();

/**
 * Projects one entry onto what is known before it. Does not change `state`.
 *
 * @param frame - an entry of the evidence log with its body.
 * @param state - that of all entries before; for a released entry, that of now.
 */
export function project(frame: Frame, state: ProjectorState): ProjectedEntry {
  try {
    const entry = decodeEvidenceEntry(frame.entry);
    switch (entry.type) {
      case 'batch':
        return projectBatch(frame, entry, state);
      case 'registry':
        return withChanges(registryChanges(entry), entry.at);
      case 'time-anchor':
        return projectAnchor(entry, state);
      case 'network': {
        if (frame.index > 0) return withChanges([], entry.at);
        return withChanges([{ type: 'log', logId: logIdOf(frame) }], entry.at);
      }
      case 'reject-tally':
        return withChanges([], entry.toMs);
      default:
        return withChanges([], entry.at);
    }
  } catch (error) {
    return { outcome: unprojectable(error), changes: [], released: [], atMs: undefined };
  }
}

/** Names a log by its entry 0. */
export function logIdOf(first: Frame): string {
  return createHash('sha256').update(first.entry).digest('hex');
}

function projectBatch(frame: Frame, entry: BatchEntry, state: ProjectorState): ProjectedEntry {
  const atMs = entry.at;
  const { body } = frame;
  const done = (outcome: Outcome, changes: readonly StateChange[] = []): ProjectedEntry => ({
    outcome,
    changes,
    released: [],
    atMs,
  });
  if (isErased(body)) return done({ type: 'erased' });
  if (entry.kind !== 'telemetry' && entry.kind !== 'result' && entry.kind !== 'birth') {
    return done(NONE);
  }
  try {
    const { stamp, contentType, payload } = parseEnvelope(body);
    if (stamp === null) throw new FieldproofError('ERR_ENVELOPE_HEADER', 'stamp: expected one');
    if (entry.kind === 'birth') {
      const { source } = decodeBirth(payload);
      const device = state.devices.get(keyOf(entry.device));
      if (findBoot(device, entry.bootCounter, seedOf(entry.bootSeed))?.source === source) {
        return done(NONE);
      }
      return done(NONE, [{ type: 'source', source, ...bootKey(entry) }]);
    }
    // A result may be a task's outcome, which holds no readings.
    if (contentType === CONTENT_TYPES.cbor && entry.kind === 'result') return done(NONE);
    return projectReadings({ frame, entry, state, stamp, contentType, payload });
  } catch (error) {
    return done(unprojectable(error));
  }
}

function projectReadings(batch: {
  readonly frame: Frame;
  readonly entry: BatchEntry;
  readonly state: ProjectorState;
  readonly stamp: Stamp;
  readonly contentType: number;
  readonly payload: Uint8Array;
}): ProjectedEntry {
  const { frame, entry, state, stamp, contentType, payload } = batch;
  const atMs = entry.at;
  const key = keyOf(entry.device);
  const device = state.devices.get(key);
  const boot = findBoot(device, entry.bootCounter, seedOf(entry.bootSeed));
  const { decoded, times } = readingsOf(entry, contentType, payload);
  if (stamp.boundMs === null && times.absolute) {
    throw new FieldproofError('ERR_TIME_UNSYNCED', 'times: expected relative ones, bound is null');
  }
  if (stamp.boundMs !== null && times.relative) {
    throw new FieldproofError('ERR_TIME_RELATIVE', 'times: expected absolute ones');
  }
  if (stamp.boundMs === null && times.readings > 0 && boot?.anchorMs === undefined) {
    const change: StateChange = { type: 'wait', index: frame.index, ...bootKey(entry) };
    return { outcome: { type: 'waiting' }, changes: [change], released: [], atMs };
  }
  const tables = readingTables(decoded, {
    device: device?.id ?? deviceIdFromPublicKey(entry.device),
    cell: device?.cell ?? '',
    group: device?.group ?? '',
    source: boot?.source ?? 'sensor',
    // docs/decisions/002: absolute = anchor offset + bootMs + 1000·t
    offsetMs: stamp.boundMs === null ? (boot?.anchorMs ?? 0) + stamp.bootMs : Number.NaN,
  });
  return { outcome: { type: 'readings', tables }, changes: [], released: [], atMs };
}

/** Of a batch, or of a result with what it was made of, which has no place in the series. */
function readingsOf(
  { kind }: BatchEntry,
  contentType: number,
  payload: Uint8Array,
): { readonly decoded: DecodedReadings; readonly times: TelemetrySummary } {
  if (kind === 'result' && contentType === CONTENT_TYPES.edgeResult) {
    const result = decodeEdgeResult(payload, sink);
    return { decoded: result.decoded, times: summarizeEdgeResult(result) };
  }
  const decoded = decodeTelemetry(payload, contentType, sink);
  return { decoded, times: summarize(decoded) };
}

function projectAnchor(entry: TimeAnchorEntry, state: ProjectorState): ProjectedEntry {
  const key = bootKey(entry);
  const boot = findBoot(state.devices.get(key.key), key.counter, key.seed);
  return {
    outcome: NONE,
    changes: [{ type: 'anchor', anchorMs: entry.offsetMs, ...key }],
    released: [...(boot?.waiting ?? [])],
    atMs: entry.at,
  };
}

/** Enrolments and credentials state name, group and cell; a renaming the name, a site group and cell. */
function registryChanges(entry: RegistryEntry): StateChange[] {
  if (!['enrol', 'credential', 'rename', 'site'].includes(entry.action)) return [];
  const body = decode(parseEnvelope(entry.statement).payload);
  if (!(body instanceof Map)) return [];
  const fields: { -readonly [K in keyof DeviceFields]?: string } = {};
  for (const name of ['name', 'group', 'cell'] as const) {
    const value = body.get(name);
    if (typeof value === 'string') fields[name] = value;
  }
  const key = keyOf(publicKeyFromDeviceId(entry.subject));
  return [{ type: 'device', key, id: entry.subject, fields }];
}

function withChanges(changes: readonly StateChange[], atMs: number): ProjectedEntry {
  return { outcome: NONE, changes, released: [], atMs };
}

function bootKey(entry: BatchEntry | TimeAnchorEntry): BootKey {
  return {
    key: keyOf(entry.device),
    id: deviceIdFromPublicKey(entry.device),
    counter: entry.bootCounter,
    seed: seedOf(entry.bootSeed),
  };
}

function keyOf(device: Uint8Array): string {
  return Buffer.from(device.buffer, device.byteOffset, device.length).toString('latin1');
}

function seedOf(seed: Uint8Array): number {
  return ((seed[0]! << 24) | (seed[1]! << 16) | (seed[2]! << 8) | seed[3]!) >>> 0;
}

/** docs/spec/evidence-log.md 2.4: erasing overwrites with zeros. No envelope begins with one. */
function isErased(body: Uint8Array): boolean {
  if (body[0] !== 0) return false;
  return body.every((byte) => byte === 0);
}

function unprojectable(error: unknown): Outcome {
  const { code, message } = error as { code?: unknown; message?: unknown };
  const known = error instanceof FieldproofError && typeof code === 'string';
  return {
    type: 'unprojectable',
    code: known ? code : 'ERR_INTERNAL',
    message: String(message),
  };
}
