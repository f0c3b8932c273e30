/**
 * Group commit (evidence-log.md section 2.1): entries are queued, written as one chunk with one fdatasync, and
 * only then reported, in order. It commits at once when idle, else when `commitIntervalMs` have passed since the
 * last commit began or `commitBytes` are waiting.
 *
 * When the disk refuses, everything that is not durable is refused with ERR_LOG_FULL, the segment is cut back, and
 * for `retryMs` nothing is taken; then the next entry tries again. While there is none the disk is probed instead, so
 * `failure` says what is so now. What an entry means is the caller's business.
 */

import { frameSize, writeFrame } from '@fieldproof/protocol/frame';
import { nativeHasher } from '@fieldproof/protocol/merkle-node';
import { BrokerError } from '../errors.ts';
import type { AcknowledgedMark } from './acknowledged-mark.ts';
import { probeDisk } from './disk-probe.ts';
import type { FileLayer } from './file-layer.ts';
import { SEGMENT_MAGIC } from './segment-file.ts';
import { SegmentWriter } from './segment-writer.ts';

const NO_HASH = new Uint8Array(0);

/** Told once for every entry: an error, or the index and RFC 6962 leaf hash under which it is durable. */
export type OnDurable = (error: BrokerError | null, index: number, leafHash: Uint8Array) => void;

/** An entry on its way to the disk. */
export interface PendingEntry {
  readonly entry: Uint8Array;
  readonly body: Uint8Array;
  readonly onDurable: OnDurable;
  leafHash: Uint8Array;
}

/** What one commit made durable. */
export interface Commit {
  readonly firstIndex: number;
  readonly records: readonly PendingEntry[];
  /** The frames as they are in the segment. */
  readonly chunk: Uint8Array;
  /** First index of the segment, and where in it the chunk begins. */
  readonly segment: number;
  readonly offset: number;
}

export interface RecorderOptions {
  readonly files: FileLayer;
  readonly folder: string;
  /** The segment to go on with; without it a new one at `nextIndex`. */
  readonly writer: SegmentWriter | undefined;
  readonly nextIndex: number;
  /** Told how far the segments are durable; the recorder closes it. */
  readonly mark?: AcknowledgedMark;
  /** A clock that never steps, ms. */
  readonly monotonicMs: () => number;
  /** Called after fdatasync and before the entries' own callbacks. Must not throw. */
  readonly onCommit: (commit: Commit) => void;
  /** Told how long a commit took that went well, ms. */
  readonly onCommitted?: (durationMs: number) => void;
  /** Called for every failure of the disk. */
  readonly onFailure: (error: unknown) => void;
  readonly segmentBytes: number;
  readonly commitBytes: number;
  readonly commitIntervalMs: number;
  readonly maxPendingBytes: number;
  readonly retryMs: number;
  /** How often a disk that has refused is probed while nothing is to be written. */
  readonly probeMs: number;
}

export class Recorder {
  readonly #options: RecorderOptions;
  #writer: SegmentWriter | undefined;
  #nextIndex: number;
  /** A segment of this index was begun and failed: the file may be there. */
  #begunIndex: number | undefined;
  #queue: PendingEntry[] = [];
  #queuedBytes = 0;
  #committingBytes = 0;
  #lastStart = Number.NEGATIVE_INFINITY;
  #failure: BrokerError | null = null;
  #refusesUntil = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;
  #running: Promise<void> | undefined;
  #probeTimer: NodeJS.Timeout | undefined;
  #isClosed = false;
  #waiting: (() => void)[] = [];

  constructor(options: RecorderOptions) {
    this.#options = options;
    this.#writer = options.writer;
    this.#nextIndex = options.nextIndex;
  }

  /** Entries that are durable. */
  get size(): number {
    return this.#nextIndex;
  }

  /** Bytes of frames that were appended and are not yet durable. */
  get pendingBytes(): number {
    return this.#queuedBytes + this.#committingBytes;
  }

  /** Whether senders should be held back: more than `maxPendingBytes` are waiting. */
  get isFull(): boolean {
    return this.pendingBytes >= this.#options.maxPendingBytes;
  }

  /** Why the last write failed, of a commit or of a probe since; null when it did not. */
  get failure(): BrokerError | null {
    return this.#failure;
  }

  /** Whether the disk has just refused, or the recorder is closed: appending is answered with ERR_LOG_FULL. */
  get isRefusing(): boolean {
    return this.#isClosed || this.#options.monotonicMs() < this.#refusesUntil;
  }

  /**
   * Takes an entry and its body, which must not be written to afterwards. Never throws for the disk's sake, and
   * never calls back before it has returned.
   */
  append(entry: Uint8Array, body: Uint8Array, onDurable: OnDurable): void {
    if (this.isRefusing) {
      const why = this.#isClosed ? 'the evidence log is closed' : 'the disk refuses to be written';
      queueMicrotask(() => onDurable(new BrokerError('ERR_LOG_FULL', why), -1, NO_HASH));
      return;
    }
    this.#queue.push({ entry, body, onDurable, leafHash: NO_HASH });
    this.#queuedBytes += frameSize(entry.length, body.length);
    this.#schedule();
  }

  /** Resolves when nothing is pending, durable or refused. */
  async flush(): Promise<void> {
    while (this.#queue.length > 0 || this.#running !== undefined) {
      if (this.#running === undefined) this.#start();
      await this.#running;
    }
  }

  /** Resolves when `isFull` is false. */
  async drained(): Promise<void> {
    while (this.isFull) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Refuses new entries, finishes the others, closes the segment. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#probeTimer);
    await this.flush();
    await this.#options.mark?.close();
    await this.#writer?.close();
    this.#writer = undefined;
  }

  #schedule(): void {
    if (this.#running !== undefined || this.#immediate !== undefined) return;
    const { commitBytes, commitIntervalMs, monotonicMs } = this.#options;
    const wait =
      this.#queuedBytes >= commitBytes ? 0 : this.#lastStart + commitIntervalMs - monotonicMs();
    if (wait > 0) {
      this.#timer ??= setTimeout(() => this.#start(), wait);
    } else {
      // Not at once: what arrives in the same turn of the loop goes into the same commit.
      this.#immediate = setImmediate(() => this.#start());
    }
  }

  #start(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
    this.#timer = undefined;
    this.#immediate = undefined;
    if (this.#running !== undefined || this.#queue.length === 0) return;
    this.#lastStart = this.#options.monotonicMs();
    this.#run(this.#commit());
  }

  /** One writer at a time: what is queued meanwhile begins behind it. */
  #run(writing: Promise<void>): void {
    this.#running = writing.finally(() => {
      this.#running = undefined;
      if (this.#queue.length > 0) this.#schedule();
      if (!this.isFull) for (const resolve of this.#waiting.splice(0)) resolve();
    });
  }

  #probeLater(): void {
    if (this.#isClosed || this.#probeTimer !== undefined) return;
    this.#probeTimer = setTimeout(() => {
      this.#probeTimer = undefined;
      if (this.#isClosed || this.#failure === null) return;
      // A commit that runs says it as well.
      if (this.#running === undefined) this.#run(this.#probe());
      else this.#probeLater();
    }, this.#options.probeMs).unref();
  }

  async #probe(): Promise<void> {
    try {
      if (this.#writer?.isBroken) await this.#writer.recover();
      await probeDisk(this.#options.files, this.#options.folder);
      this.#failure = null;
    } catch {
      // Still as `failure` says.
      this.#probeLater();
    }
  }

  async #commit(): Promise<void> {
    const { records, bytes } = this.#take();
    this.#committingBytes = bytes;
    const firstIndex = this.#nextIndex;
    let commit: Commit;
    try {
      const chunk = encodeChunk(records, firstIndex, bytes);
      const writer = await this.#writerFor(bytes);
      const offset = writer.length;
      const written = writer.append(chunk);
      // The hashes are made while the disk works.
      for (const record of records) record.leafHash = nativeHasher.leafHash(record.entry);
      await written;
      commit = { firstIndex, records, chunk, segment: writer.first, offset };
    } catch (error) {
      this.#committingBytes = 0;
      await this.#fail(records, error);
      return;
    }
    this.#nextIndex = firstIndex + records.length;
    this.#options.mark?.note({ first: commit.segment, length: commit.offset + bytes });
    this.#committingBytes = 0;
    this.#failure = null;
    const { onCommit, onCommitted, monotonicMs } = this.#options;
    onCommitted?.(monotonicMs() - this.#lastStart);
    onCommit(commit);
    for (let i = 0; i < records.length; i++) {
      tell(records[i]!, null, firstIndex + i);
    }
  }

  /** The entries of the next commit: about `commitBytes`, at least one. */
  #take(): { records: PendingEntry[]; bytes: number } {
    const { commitBytes, segmentBytes } = this.#options;
    const limit = Math.min(commitBytes, segmentBytes - SEGMENT_MAGIC.length);
    let count = 0;
    let bytes = 0;
    for (const { entry, body } of this.#queue) {
      const size = frameSize(entry.length, body.length);
      if (count > 0 && bytes + size > limit) break;
      bytes += size;
      count += 1;
    }
    const records = count === this.#queue.length ? this.#queue : this.#queue.slice(0, count);
    this.#queue = count === this.#queue.length ? [] : this.#queue.slice(count);
    this.#queuedBytes -= bytes;
    return { records, bytes };
  }

  /** The open segment, or the next one when it is full. */
  async #writerFor(bytes: number): Promise<SegmentWriter> {
    const { files, folder, segmentBytes } = this.#options;
    const current = this.#writer;
    if (current?.isBroken) await current.recover();
    const hasFrames = current !== undefined && current.length > SEGMENT_MAGIC.length;
    const isFull = hasFrames && current.length + bytes > segmentBytes;
    // Frames from an index on cannot go elsewhere while there may be a segment of that index.
    if (current !== undefined && !isFull && this.#begunIndex !== this.#nextIndex) return current;
    this.#begunIndex = this.#nextIndex;
    const next = await SegmentWriter.create(files, folder, this.#nextIndex);
    this.#writer = next;
    this.#begunIndex = undefined;
    await current?.close();
    return next;
  }

  /** Refuses all that is not durable, and cuts the segment back. */
  async #fail(records: readonly PendingEntry[], cause: unknown): Promise<void> {
    this.#refusesUntil = this.#options.monotonicMs() + this.#options.retryMs;
    this.#options.onFailure(cause);
    if (this.#writer?.isBroken) await this.#writer.recover().catch(this.#options.onFailure);
    const refused = [...records, ...this.#queue.splice(0)];
    this.#queuedBytes = 0;
    const why = (cause as NodeJS.ErrnoException).code;
    const message = `the disk refuses to be written${why === undefined ? '' : ` (${why})`}`;
    const error = new BrokerError('ERR_LOG_FULL', message, { cause });
    this.#failure = error;
    this.#probeLater();
    for (const record of refused) tell(record, error, -1);
  }
}

function encodeChunk(
  records: readonly PendingEntry[],
  firstIndex: number,
  bytes: number,
): Uint8Array {
  // Not from the shared pool: the tail ring keeps chunks for long.
  const chunk = new Uint8Array(Buffer.allocUnsafeSlow(bytes).buffer);
  let at = 0;
  let index = firstIndex;
  for (const { entry, body } of records) {
    at = writeFrame(chunk, at, { index, entry, body });
    index += 1;
  }
  return chunk;
}

/** A caller that throws must not keep the others from being told. */
function tell(record: PendingEntry, error: BrokerError | null, index: number): void {
  try {
    record.onDurable(error, index, error === null ? record.leafHash : NO_HASH);
  } catch (thrown) {
    queueMicrotask(() => {
      throw thrown;
    });
  }
}
