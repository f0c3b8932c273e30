/**
 * Reading of the outbox: what waits, oldest first, as far as it is durable. It goes on while segments are
 * appended to and deleted. Leaves out what the outbox no longer waits for.
 */

import type { Boot } from './boot.ts';
import type { DiskFile } from './disk.ts';
import { codeOf } from './errors.ts';
import type { EnvelopeRecord } from './outbox-frame.ts';
import { findFrame, readFrame, SEGMENT_MAGIC } from './outbox-segment.ts';

/** A place in the outbox: on the card, and in its front. */
export interface OutboxPosition {
  readonly segment: number;
  readonly offset: number;
  /** Number of the next in the front. */
  readonly front: number;
}

/** An envelope that waits. */
export type PendingEnvelope = EnvelopeRecord;

/** A segment as a cursor needs it. */
export interface CursorSegment {
  readonly index: number;
  readonly path: string;
  readonly length: number;
  /** Where damage begins → where the next whole frame does. */
  readonly damage: ReadonlyMap<number, number>;
}

/** What a cursor reads from. */
export interface CursorSource {
  /** Where it begins, and where it ends at the latest. */
  readonly from: OutboxPosition;
  readonly to?: OutboxPosition | undefined;
  /** How far the card may be read now. */
  readonly durable: () => Pick<OutboxPosition, 'segment' | 'offset'>;
  /** The first segment from an index on. */
  readonly nextSegment: (index: number) => CursorSegment | undefined;
  /** The first of the front from a number on. */
  readonly inFront: (
    at: number,
  ) => { readonly record: EnvelopeRecord; readonly at: number } | undefined;
  readonly isPending: (boot: Boot, seq: number) => boolean;
  readonly open: (path: string) => Promise<DiskFile>;
}

/**
 * A reader's place in the outbox: first what is on the card, then the front. Segments that are deleted meanwhile are
 * passed over; what is spilled meanwhile comes once more, from the card.
 */
export class OutboxCursor {
  readonly #source: CursorSource;
  #at: OutboxPosition;
  #file: DiskFile | undefined;
  #isClosed = false;

  constructor(source: CursorSource) {
    this.#source = source;
    this.#at = source.from;
  }

  /** The next envelope that waits, or undefined when there is none up to the limit now. */
  async next(): Promise<PendingEnvelope | undefined> {
    for (;;) {
      if (this.#isClosed) return undefined;
      const limit = this.#limit();
      if (!isBefore(this.#at, limit)) return this.#nextInFront();
      const segment = this.#source.nextSegment(this.#at.segment);
      if (segment === undefined) return this.#nextInFront();
      if (segment.index > this.#at.segment) {
        await this.#moveTo({ segment: segment.index, offset: 0 });
        continue;
      }
      const offset = Math.max(this.#at.offset, SEGMENT_MAGIC.length);
      if (offset >= segment.length) {
        // More may come behind the end of the last one.
        if (this.#source.nextSegment(segment.index + 1) === undefined) {
          return this.#nextInFront();
        }
        await this.#moveTo({ segment: segment.index + 1, offset: 0 });
        continue;
      }
      if (!isBefore({ segment: segment.index, offset }, limit)) return this.#nextInFront();
      const behindDamage = segment.damage.get(offset);
      if (behindDamage !== undefined) {
        this.#at = { ...this.#at, offset: Math.max(behindDamage, offset), segment: segment.index };
        if (behindDamage > offset) continue;
      }
      let read: Awaited<ReturnType<typeof readFrame>>;
      try {
        read = await readFrame(await this.#opened(segment.path), offset);
      } catch (error) {
        if (this.#isClosed) return undefined;
        if (codeOf(error) !== 'ENOENT') throw error;
      }
      // Damaged since the start: what lies behind it in this segment is whole, and more may be written there.
      if (read === undefined && this.#file !== undefined) {
        const end = await findFrame(this.#file, offset + 1, segment.length);
        this.#at = { ...this.#at, segment: segment.index, offset: end };
        continue;
      }
      // Deleted meanwhile.
      if (read === undefined) {
        await this.#moveTo({ segment: segment.index + 1, offset: 0 });
        continue;
      }
      this.#at = { ...this.#at, segment: segment.index, offset: read.end };
      const { body } = read;
      if (body?.type !== 'envelope' || !this.#source.isPending(body.boot, body.seq)) continue;
      return body;
    }
  }

  /** Ends it; a `next` that is under way gives undefined. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#leave();
  }

  async #opened(path: string): Promise<DiskFile> {
    if (this.#file !== undefined) return this.#file;
    const file = await this.#source.open(path);
    this.#file = file;
    // Closed while it was being opened: nobody else would close this file.
    if (this.#isClosed) await this.#leave();
    return file;
  }

  async #leave(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  async #moveTo(position: Pick<OutboxPosition, 'segment' | 'offset'>): Promise<void> {
    await this.#leave();
    this.#at = { ...this.#at, ...position };
  }

  /** How far the card may be read now. */
  #limit(): Pick<OutboxPosition, 'segment' | 'offset'> {
    const { to, durable } = this.#source;
    const at = durable();
    return to !== undefined && isBefore(to, at) ? to : at;
  }

  #nextInFront(): PendingEnvelope | undefined {
    const end = this.#source.to?.front ?? Number.POSITIVE_INFINITY;
    for (;;) {
      const item = this.#source.inFront(this.#at.front);
      if (item === undefined || item.at >= end) return undefined;
      this.#at = { ...this.#at, front: item.at + 1 };
      const { boot, seq } = item.record;
      if (this.#source.isPending(boot, seq)) return item.record;
    }
  }
}

/** Whether one place on the card comes before another. */
export function isBefore(
  a: Pick<OutboxPosition, 'segment' | 'offset'>,
  b: Pick<OutboxPosition, 'segment' | 'offset'>,
): boolean {
  return a.segment < b.segment || (a.segment === b.segment && a.offset < b.offset);
}
