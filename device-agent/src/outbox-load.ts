/**
 * Reading of what an earlier run has left on the card: every segment goes into the books. A torn last write is cut off;
 * other damage is passed over, and told.
 */

import type { Disk, DiskFile } from './disk.ts';
import { codeOf } from './errors.ts';
import { addMember, newSegment, type Segment, segmentIndexOf } from './outbox-contents.ts';
import type { OutboxLedger } from './outbox-ledger.ts';
import { SEGMENT_MAGIC, scanSegment } from './outbox-segment.ts';

const READ_BYTES = 65_536;

/** Bytes of a segment that are no frames. */
export interface OutboxDamage {
  readonly file: string;
  readonly offset: number;
  readonly bytes: number;
  /**
   * `torn`: the end of the last segment, which is cut off. `damaged`: elsewhere, or what the card does not give now; it is
   * passed over, and stays.
   */
  readonly reason: 'torn' | 'damaged';
}

export interface LoadedSegments {
  readonly segments: Segment[];
  readonly damage: readonly OutboxDamage[];
  /** Whether more may be written behind the last one: all of it was read, or cut off. */
  readonly isWhole: boolean;
}

/**
 * Reads all segments of a folder, oldest first.
 *
 * @param options.ledger - the books that they go into.
 * @param options.nowMs - the monotonic time: all was sealed before it.
 */
export async function loadSegments(options: {
  readonly folder: string;
  readonly disk: Disk;
  readonly ledger: OutboxLedger;
  readonly nowMs: number;
}): Promise<LoadedSegments> {
  const { folder, disk } = options;
  const indexes = (await disk.readdir(folder))
    .flatMap((name) => segmentIndexOf(name) ?? [])
    .sort((a, b) => a - b);
  const segments: Segment[] = [];
  const damage: OutboxDamage[] = [];
  let isWhole = true;
  for (const index of indexes) {
    const segment = newSegment(folder, index);
    segment.closedAtMs = options.nowMs;
    const isLast = index === indexes[indexes.length - 1];
    const found = await load(segment, { ...options, earlier: segments, isLast });
    isWhole = found.every(({ offset, reason }) => reason === 'torn' || offset < segment.length);
    damage.push(...found);
    segments.push(segment);
  }
  return { segments, damage, isWhole };
}

/** How many bytes were lost in one way. */
export function bytesOf(damage: readonly OutboxDamage[], reason: OutboxDamage['reason']): number {
  return damage.reduce((sum, part) => sum + (part.reason === reason ? part.bytes : 0), 0);
}

async function load(
  segment: Segment,
  options: {
    readonly disk: Disk;
    readonly ledger: OutboxLedger;
    readonly earlier: readonly Segment[];
    readonly isLast: boolean;
  },
): Promise<OutboxDamage[]> {
  const { disk, ledger, earlier, isLast } = options;
  const file = await disk.open(segment.path, isLast ? 'r+' : 'r', 0o600);
  const found: OutboxDamage[] = [];
  try {
    const { size } = await file.stat();
    for await (const item of scanSegment(file)) {
      if (item.type === 'damage') {
        const { offset, end } = item;
        const isTorn = isLast && end === size && (await isReadable(file, offset, end));
        const reason = isTorn ? 'torn' : 'damaged';
        found.push({ file: segment.path, offset, bytes: end - offset, reason });
        if (item.end === size) break;
        segment.length = item.end;
        segment.damage.set(Math.max(item.offset, SEGMENT_MAGIC.length), item.end);
        continue;
      }
      segment.length = item.end;
      if (item.type === 'start') continue;
      const { body } = item;
      if (body.type === 'clock') isSealedBefore(body.atMs, [...earlier, segment]);
      const entry = ledger.note(body);
      if (entry === undefined || body.type !== 'envelope') continue;
      delete segment.closedAtUnixMs;
      addMember(segment, entry.key, body.seq);
    }
    if (found.some(({ reason }) => reason === 'torn')) {
      await file.truncate(segment.length);
      await file.sync();
    }
  } finally {
    await file.close();
  }
  return found;
}

/** Whether the card gives these bytes. What it does not give now, it may give when it is cooler, or in another reader. */
async function isReadable(file: DiskFile, from: number, to: number): Promise<boolean> {
  const buffer = Buffer.alloc(Math.min(to - from, READ_BYTES));
  try {
    for (let at = from; at < to; ) {
      const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, to - at), at);
      if (bytesRead === 0) break;
      at += bytesRead;
    }
    return true;
  } catch (error) {
    if (codeOf(error) !== 'EIO') throw error;
    return false;
  }
}

/** All that was read so far was sealed before this. */
function isSealedBefore(atMs: number, read: readonly Segment[]): void {
  for (const segment of read) segment.closedAtUnixMs ??= atMs;
}
