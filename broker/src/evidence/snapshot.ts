/**
 * The state at some published size, in one file, so that a start reads only the frames behind it (evidence-log.md
 * section 2.6). Made again from the log whenever it is missing, damaged or does not fit.
 */

import { type CborValue, decode, encode } from '@fieldproof/protocol/cbor';
import { crc32c } from '@fieldproof/protocol/crc32c';
import type { Interval } from '@fieldproof/protocol/interval-set';
import { BatchIndex } from './batch-index.ts';
import type { StoredRows } from './boot-rows.ts';
import { DeviceBoots } from './device-boots.ts';
import type { LogTreeState } from './log-tree.ts';
import type { ClosedSegment } from './segment-store.ts';
import { Boot } from './settlement.ts';

const MAGIC = new TextEncoder().encode('fieldproof-snp-2');
const HEADER_BYTES = 20;
const MAX_ITEMS = 1e9;

export interface Snapshot {
  /** Entries that the state covers. */
  readonly size: number;
  readonly tree: LogTreeState;
  /** The segments before `segment`, ascending. */
  readonly closed: readonly ClosedSegment[];
  /** First index of the segment in which entry `size` is or will be, or of the one before. */
  readonly segment: number;
  /** Records of the reject log that the state covers. */
  readonly rejects: number;
  readonly index: BatchIndex;
}

/** The bytes of a snapshot file. */
export function encodeSnapshot(snapshot: Snapshot): Uint8Array {
  const { size, tree, closed, segment, rejects, index } = snapshot;
  const state = encode([
    size,
    tree.range,
    tree.columns,
    tree.entries,
    closed.flatMap(({ first, bytes }) => [first, bytes]),
    segment,
    rejects,
    encodeIndex(index),
  ]);
  const bytes = new Uint8Array(HEADER_BYTES + state.length);
  bytes.set(MAGIC);
  new DataView(bytes.buffer).setUint32(16, crc32c(state));
  bytes.set(state, HEADER_BYTES);
  return bytes;
}

/** Reads a snapshot file; undefined when it is damaged or of another version. */
export function decodeSnapshot(bytes: Uint8Array): Snapshot | undefined {
  if (bytes.length < HEADER_BYTES || MAGIC.some((byte, i) => bytes[i] !== byte)) return undefined;
  const state = bytes.subarray(HEADER_BYTES);
  const stated = new DataView(bytes.buffer, bytes.byteOffset).getUint32(16);
  if (stated !== crc32c(state)) return undefined;
  // The checksum holds, so this is what `encodeSnapshot` wrote.
  const [size, range, columns, entries, closed, segment, rejects, devices] = decode(state, {
    maxItems: MAX_ITEMS,
  }) as [number, Uint8Array, Uint8Array[], Uint8Array[], number[], number, number, DeviceItem[]];
  return {
    size,
    tree: { range, columns, entries },
    closed: pairs(closed).map(([first, length]) => ({ first, bytes: length })),
    segment,
    rejects,
    index: decodeIndex(devices),
  };
}

type BootItem = [
  counter: number,
  seed: number,
  firstIndex: number,
  lastIndex: number,
  recorded: number[],
  settled: number[],
  rejected: [number, string][],
];
type RowsItem = [rows: Uint8Array, lists: [number, number, number[]][]];
type DeviceItem = [
  device: Uint8Array,
  newest: [number, Uint8Array] | null,
  boots: BootItem[],
  rows: RowsItem | null,
];

function encodeIndex(index: BatchIndex): CborValue {
  const devices: CborValue[] = [];
  for (const [name, { boots, newest }] of index.devices) {
    const { live, rows } = boots.stored();
    if (live.length === 0 && rows === null && newest === null) continue;
    const ref = newest === null ? null : [newest.index, newest.leafHash];
    const key = Uint8Array.from(Buffer.from(name, 'latin1'));
    devices.push([key, ref, live.map(encodeBoot), rows && encodeRows(rows)]);
  }
  return devices;
}

function encodeBoot(boot: Boot): CborValue {
  return [
    boot.counter,
    boot.seed,
    boot.firstIndex,
    boot.lastIndex,
    boot.recorded.ranges().flat(),
    boot.settled.ranges().flat(),
    [...boot.rejected],
  ];
}

function encodeRows({ rows, lists }: StoredRows): CborValue {
  return [rows, lists];
}

function decodeIndex(devices: readonly DeviceItem[]): BatchIndex {
  const index = new BatchIndex();
  for (const [key, newest, live, rows] of devices) {
    const ref = newest && { index: newest[0], leafHash: newest[1].slice() };
    const stored = rows && { rows: rows[0], lists: rows[1] };
    index.restore(key, new DeviceBoots({ live: live.map(decodeBoot), rows: stored }), ref);
  }
  return index;
}

function decodeBoot(item: BootItem): Boot {
  const [counter, seed, firstIndex, lastIndex, recorded, settled, rejected] = item;
  const state = { recorded: pairs(recorded), settled: pairs(settled), rejected };
  const boot = new Boot({ counter, seed }, state);
  boot.firstIndex = firstIndex;
  boot.lastIndex = lastIndex;
  return boot;
}

function pairs(flat: readonly number[]): Interval[] {
  const list: Interval[] = [];
  for (let i = 0; i < flat.length; i += 2) list.push([flat[i]!, flat[i + 1]!]);
  return list;
}
