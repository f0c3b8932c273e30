/**
 * Finds and reads frames by index, and envelopes by digest, in all segments. The open segment's table is in memory,
 * those of closed ones in sidecar files, of which a few are kept loaded.
 */

import { join } from 'node:path';
import { equalBytes } from '@fieldproof/protocol/bytes';
import { decodeFrame, type Frame } from '@fieldproof/protocol/frame';
import { decodeBatchEntry, isBatchEntry } from '@fieldproof/protocol/log-entries';
import { BrokerError } from '../errors.ts';
import { type FileLayer, replaceFile } from './file-layer.ts';
import { corrupt, SEGMENT_MAGIC, segmentName } from './segment-file.ts';
import { scanSegment } from './segment-reader.ts';
import { decodeSidecar, type SegmentIndex, SegmentTable } from './segment-table.ts';

/** Sidecars kept in memory, about 1.5 MB each. */
const KEPT_SIDECARS = 8;
const DIGEST_BYTES = 32;

/** A segment to which nothing is added any more. */
export interface ClosedSegment {
  readonly first: number;
  readonly bytes: number;
}

/** Whole frames that follow each other. */
export interface FrameChunk {
  readonly bytes: Uint8Array;
  readonly firstIndex: number;
  readonly count: number;
}

export class SegmentStore {
  readonly #files: FileLayer;
  readonly #folder: string;
  readonly #onFailure: (error: unknown) => void;
  readonly #closed: ClosedSegment[];
  readonly #loaded = new Map<number, Promise<SegmentIndex>>();
  #open: SegmentTable | undefined;
  /** Bytes of the open segment that hold known frames. */
  #openBytes = SEGMENT_MAGIC.length;
  #saving: Promise<void> = Promise.resolve();

  /** @param options.closed - the segments that are not going to be replayed, ascending. */
  constructor(options: {
    readonly files: FileLayer;
    readonly folder: string;
    readonly closed: readonly ClosedSegment[];
    readonly onFailure: (error: unknown) => void;
  }) {
    this.#files = options.files;
    this.#folder = options.folder;
    this.#closed = [...options.closed];
    this.#onFailure = options.onFailure;
  }

  /** Frames that are known here. */
  get size(): number {
    return this.#open === undefined ? 0 : this.#open.first + this.#open.count;
  }

  /** The segments that are complete, ascending. */
  get closed(): readonly ClosedSegment[] {
    return this.#closed;
  }

  /** First index of the segment that began last; undefined before the first. */
  get openFirst(): number | undefined {
    return this.#open?.first;
  }

  /** States that a segment begins; the one before it is complete, and its sidecar is written by and by. */
  begin(first: number): void {
    const before = this.#open;
    if (before !== undefined) this.#closed.push({ first: before.first, bytes: this.#openBytes });
    this.#open = new SegmentTable(first);
    this.#openBytes = SEGMENT_MAGIC.length;
    if (before === undefined) return;
    this.#keep(before.first, Promise.resolve(before));
    this.#saving = this.#saving.then(() => this.#close(before)).catch(this.#onFailure);
  }

  /** Adds a durable frame of that many bytes to the segment that began last. */
  add(bytes: number, digest: Uint8Array | null): void {
    this.#open?.add(this.#openBytes, digest);
    this.#openBytes += bytes;
  }

  /** Resolves when no sidecar is being written. */
  async settled(): Promise<void> {
    await this.#saving;
  }

  /**
   * One frame, checked.
   *
   * @throws {BrokerError} ERR_INDEX_RANGE; ERR_LOG_CORRUPT when the frame on disk is not what was written.
   */
  async readFrame(index: number): Promise<Frame> {
    const { bytes } = await this.readChunk(index, { maxBytes: 1, until: index + 1 });
    try {
      const frame = decodeFrame(bytes);
      if (frame.index === index) return frame;
      throw new Error(`expected index ${index}, got ${frame.index}`);
    } catch (cause) {
      throw corrupt(`entry ${index}`, 'the frame has changed on disk', cause);
    }
  }

  /**
   * Frames from an index on, unchecked: about `maxBytes`, at least one, none from `until` on.
   *
   * @throws {BrokerError} ERR_INDEX_RANGE when there is no such frame.
   */
  async readChunk(
    index: number,
    { maxBytes, until }: { readonly maxBytes: number; readonly until: number },
  ): Promise<FrameChunk> {
    const segment = await this.#segmentOf(index);
    const path = join(this.#folder, segmentName(segment.first));
    const ordinal = index - segment.first;
    const last = Math.min(segment.count, until - segment.first);
    const file = await this.#files.open(path, 'read');
    try {
      const start = segment.offsetAt(ordinal);
      const total = segment === this.#open ? this.#openBytes : await file.size();
      const endOf = (next: number) => (next < segment.count ? segment.offsetAt(next) : total);
      let low = ordinal + 1;
      let high = last;
      while (low < high) {
        const middle = (low + high + 1) >>> 1;
        if (endOf(middle) - start <= maxBytes) low = middle;
        else high = middle - 1;
      }
      const length = endOf(low) - start;
      const bytes = await file.read(start, length);
      if (bytes.length < length) throw corrupt(path, `expected ${length} bytes at ${start}`);
      return { bytes, firstIndex: index, count: low - ordinal };
    } finally {
      await file.close();
    }
  }

  /** The index of the entry whose envelope has that digest, if it is in the open segment. */
  findInOpen(digest: Uint8Array): number | undefined {
    const ordinal = this.#open?.candidates(digest)[0];
    return ordinal === undefined ? undefined : this.#open!.first + ordinal;
  }

  /**
   * The index of the entry whose envelope has that digest, newest segment first.
   *
   * @param range - indexes to look between, both included; by default all.
   */
  async find(
    digest: Uint8Array,
    range: { readonly from: number; readonly to: number } = { from: 0, to: this.size },
  ): Promise<number | undefined> {
    const inOpen = this.findInOpen(digest);
    if (inOpen !== undefined) return inOpen;
    // What begins behind the range, or ends before it, cannot hold it.
    let end = this.#open?.first ?? 0;
    for (const { first } of this.#closed.slice().reverse()) {
      if (first <= range.to && end > range.from) {
        const found = await this.#findInClosed(first, digest);
        if (found !== undefined) return found;
      }
      end = first;
    }
    return undefined;
  }

  async #findInClosed(first: number, digest: Uint8Array): Promise<number | undefined> {
    const segment = await this.#load(first);
    for (const ordinal of segment.candidates(digest)) {
      const { entry } = await this.readFrame(first + ordinal);
      if (isBatchEntry(entry) && equalBytes(decodeBatchEntry(entry).digest, digest)) {
        return first + ordinal;
      }
    }
    return undefined;
  }

  async #segmentOf(index: number): Promise<SegmentIndex> {
    if (!Number.isSafeInteger(index) || index < 0 || index >= this.size) {
      throw new BrokerError('ERR_INDEX_RANGE', `index: expected below ${this.size}, got ${index}`);
    }
    if (this.#open !== undefined && index >= this.#open.first) return this.#open;
    const first = this.#closed.findLast((segment) => segment.first <= index)?.first;
    if (first === undefined) throw corrupt(this.#folder, `no segment holds entry ${index}`);
    return await this.#load(first);
  }

  #load(first: number): Promise<SegmentIndex> {
    const loaded = this.#loaded.get(first) ?? this.#loadSidecar(first);
    this.#loaded.delete(first);
    this.#keep(first, loaded);
    return loaded;
  }

  #keep(first: number, index: Promise<SegmentIndex>): void {
    this.#loaded.set(first, index);
    index.catch(() => this.#loaded.delete(first));
    const [oldest] = this.#loaded.keys();
    if (this.#loaded.size > KEPT_SIDECARS) this.#loaded.delete(oldest!);
  }

  async #loadSidecar(first: number): Promise<SegmentIndex> {
    const bytes = await this.#files.readFile(this.#sidecarPath(first));
    const found = bytes && decodeSidecar(bytes, first);
    if (found !== undefined) return found;
    const table = await this.#scan(first);
    // It can be made again, so failing to keep it costs only time.
    const made = await this.#save(table).catch(this.#onFailure);
    return (made && decodeSidecar(made, first)) ?? table;
  }

  async #scan(first: number): Promise<SegmentTable> {
    const path = join(this.#folder, segmentName(first));
    const file = await this.#files.open(path, 'read');
    try {
      const table = new SegmentTable(first);
      const { left, reason, end } = await scanSegment(file, {
        offset: SEGMENT_MAGIC.length,
        firstIndex: first,
        onFrame: ({ entry }, offset) => table.add(offset, digestOf(entry)),
      });
      if (left > 0) throw corrupt(path, `at byte ${end}: ${reason}`);
      return table;
    } finally {
      await file.close();
    }
  }

  /** Of a segment that is complete the sidecar is kept instead of the table: a fifth of the memory. */
  async #close(table: SegmentTable): Promise<void> {
    const index = decodeSidecar(await this.#save(table), table.first);
    if (index !== undefined && this.#loaded.has(table.first)) {
      this.#loaded.set(table.first, Promise.resolve(index));
    }
  }

  async #save(table: SegmentTable): Promise<Uint8Array> {
    const bytes = table.encode();
    await replaceFile(this.#files, this.#sidecarPath(table.first), bytes);
    return bytes;
  }

  #sidecarPath(first: number): string {
    return join(this.#folder, segmentName(first).replace(/seg$/, 'idx'));
  }
}

/** As {@link digestOf}, of an entry that was encoded here: the digest is what a batch entry ends with. */
export function digestOfOurs(entry: Uint8Array): Uint8Array | null {
  return isBatchEntry(entry) ? entry.subarray(entry.length - DIGEST_BYTES) : null;
}

/** The digest in a batch entry; null for other entries. */
export function digestOf(entry: Uint8Array): Uint8Array | null {
  return isBatchEntry(entry) ? decodeBatchEntry(entry).digest : null;
}
