/**
 * The tail (evidence-log.md section 4): frames from an index on, byte for byte as they are in the segments. What was
 * committed lately comes from a ring in memory, the rest from the files. A reader that is slow costs one chunk of
 * memory, however far behind it is.
 */

import { FRAME_OVERHEAD_BYTES } from '@fieldproof/protocol/frame';
import { BrokerError } from '../errors.ts';
import type { FrameChunk, SegmentStore } from './segment-store.ts';

/** Bytes that a reader that is behind gets at a time. */
const FILE_CHUNK_BYTES = 1 << 20;
/** A ring is at least 16 slabs. */
const MAX_SLAB_BYTES = 1 << 20;

export interface TailOptions {
  /** Go on with new frames as they become durable. Default true; else end at the present end. */
  readonly live?: boolean;
  /** Ends the tail, also while it waits. */
  readonly signal?: AbortSignal;
}

interface Slab {
  readonly memory: Uint8Array;
  used: number;
  /** At least one, once it is in the ring. */
  readonly chunks: FrameChunk[];
}

/**
 * The newest commits, and who waits for the next. They lie one behind the other in slabs of one size, which are let go
 * whole: buffers of a commit each, of all sizes, would leave holes in the C heap for hours.
 */
export class TailRing {
  readonly #maxBytes: number;
  readonly #slabBytes: number;
  /** Oldest first; the last one is being filled. */
  readonly #slabs: Slab[] = [];
  #bytes = 0;
  #isClosed = false;
  #waiting = new Set<() => void>();

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
    this.#slabBytes = Math.min(MAX_SLAB_BYTES, Math.ceil(maxBytes / 16));
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Copies the frames of a commit and wakes who waits. */
  push({ bytes, firstIndex, count }: FrameChunk): void {
    let slab = this.#slabs.at(-1);
    if (slab === undefined || slab.used + bytes.length > slab.memory.length) {
      slab = this.#begin(bytes.length);
    }
    const copy = slab.memory.subarray(slab.used, slab.used + bytes.length);
    copy.set(bytes);
    slab.used += bytes.length;
    slab.chunks.push({ bytes: copy, firstIndex, count });
    this.#wake();
  }

  /** The chunk that holds an index, cut to begin there; undefined when it is not in memory. */
  read(index: number): FrameChunk | undefined {
    const slab = this.#slabs.findLast(({ chunks }) => chunks[0]!.firstIndex <= index);
    if (slab === undefined) return undefined;
    const { chunks } = slab;
    let low = 0;
    let high = chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const { firstIndex, count } = chunks[middle]!;
      if (firstIndex + count <= index) low = middle + 1;
      else high = middle;
    }
    const chunk = chunks[low];
    return chunk === undefined ? undefined : dropFrames(chunk, index - chunk.firstIndex);
  }

  /** Resolves with the next commit, the end of the log or the signal. */
  async more(signal: AbortSignal | undefined): Promise<void> {
    if (this.#isClosed || signal?.aborted) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        this.#waiting.delete(done);
        signal?.removeEventListener('abort', done);
        resolve();
      };
      this.#waiting.add(done);
      signal?.addEventListener('abort', done);
    });
  }

  /** Ends all tails that have nothing left to give. */
  close(): void {
    this.#isClosed = true;
    this.#wake();
  }

  /** A new slab, at the cost of the oldest; a commit that is longer than slabs are has one of its own. */
  #begin(atLeast: number): Slab {
    const memory = new Uint8Array(Math.max(this.#slabBytes, atLeast));
    const slab: Slab = { memory, used: 0, chunks: [] };
    this.#bytes += memory.length;
    while (this.#bytes > this.#maxBytes && this.#slabs.length > 0) {
      this.#bytes -= this.#slabs.shift()!.memory.length;
    }
    this.#slabs.push(slab);
    return slab;
  }

  #wake(): void {
    for (const done of [...this.#waiting]) done();
  }
}

/**
 * Frames from an index on, in chunks of whole frames.
 *
 * @throws {BrokerError} ERR_INDEX_RANGE, at once, when `from` is above the size.
 */
export function tail(
  source: { readonly ring: TailRing; readonly store: SegmentStore },
  from: number,
  options: TailOptions = {},
): AsyncGenerator<Uint8Array, void, void> {
  const { size } = source.store;
  if (!Number.isSafeInteger(from) || from < 0 || from > size) {
    throw new BrokerError('ERR_INDEX_RANGE', `from: expected 0 to ${size}, got ${from}`);
  }
  const until = (options.live ?? true) ? Number.POSITIVE_INFINITY : size;
  return frames(source, { from, until, signal: options.signal });
}

async function* frames(
  { ring, store }: { readonly ring: TailRing; readonly store: SegmentStore },
  range: {
    readonly from: number;
    readonly until: number;
    readonly signal?: AbortSignal | undefined;
  },
): AsyncGenerator<Uint8Array, void, void> {
  let next = range.from;
  while (next < range.until && !range.signal?.aborted) {
    if (next < store.size) {
      const until = Math.min(range.until, store.size);
      const chunk =
        ring.read(next) ?? (await store.readChunk(next, { maxBytes: FILE_CHUNK_BYTES, until }));
      const cut = keepFrames(chunk, until - next);
      next += cut.count;
      yield cut.bytes;
    } else if (ring.isClosed) {
      return;
    } else {
      await ring.more(range.signal);
    }
  }
}

/** The chunk without its first `count` frames. */
function dropFrames(chunk: FrameChunk, count: number): FrameChunk {
  if (count === 0) return chunk;
  return {
    bytes: chunk.bytes.subarray(offsetOf(chunk.bytes, count)),
    firstIndex: chunk.firstIndex + count,
    count: chunk.count - count,
  };
}

/** The first `count` frames of the chunk. */
function keepFrames(chunk: FrameChunk, count: number): FrameChunk {
  if (count >= chunk.count) return chunk;
  return { ...chunk, bytes: chunk.bytes.subarray(0, offsetOf(chunk.bytes, count)), count };
}

/** Where the `count`-th frame begins. */
function offsetOf(bytes: Uint8Array, count: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const prefix = FRAME_OVERHEAD_BYTES - 12;
  let at = 0;
  for (let i = 0; i < count; i += 1) at += prefix + view.getUint32(at);
  return at;
}
