/**
 * The evidence log of a broker (evidence-log.md): appends entries durably, knows duplicates from equivocation, keeps
 * what receipts say, publishes tiles and checkpoints, and serves tails, frames, bodies and proofs.
 *
 * Verdicts before this one, signatures on receipts and HTTP routes are elsewhere.
 */

import { join } from 'node:path';
import { equalBytes } from '@fieldproof/protocol/bytes';
import { type Frame, frameSize } from '@fieldproof/protocol/frame';
import {
  type BatchEntry,
  type EvidenceEntry,
  encodeBatchEntry,
  encodeEvidenceEntry,
} from '@fieldproof/protocol/log-entries';
import { nativeSha256 } from '@fieldproof/protocol/merkle-node';
import { BrokerError } from '../errors.ts';
import { AcknowledgedMark } from './acknowledged-mark.ts';
import { type BatchIndex, type EntryRef, type EnvelopeKey, tellWaiting } from './batch-index.ts';
import { removeProbe } from './disk-probe.ts';
import { type FileLayer, nodeFiles, replaceFile } from './file-layer.ts';
import type { ReleaseLock } from './file-lock.ts';
import {
  type AppendOutcome,
  EVIDENCE_LOG_DEFAULTS,
  type EvidenceLogOptions,
  type EvidenceLogSettings,
  type Judgement,
  type ReceiptParts,
  type SettledReject,
  type StartReport,
} from './log-contract.ts';
import { LogProofs } from './log-proofs.ts';
import { type LogFolders, readState, type StartState } from './log-start.ts';
import type { LogTree } from './log-tree.ts';
import { loadCheckpoint, type PublishedCheckpoint, Publisher } from './publisher.ts';
import { type Commit, Recorder } from './recorder.ts';
import { encodeReject } from './reject-log.ts';
import { type ReplayResult, resumeWriter } from './segment-replay.ts';
import { digestOfOurs, type SegmentStore } from './segment-store.ts';
import { type Boot, MAX_UNACKNOWLEDGED, seedNumber } from './settlement.ts';
import { encodeSnapshot } from './snapshot.ts';
import { type TailOptions, TailRing, tail } from './tail.ts';
import { TileReader } from './tile-reader.ts';

const NO_BODY = new Uint8Array(0);

type OnFailure = (error: unknown) => void;

export class EvidenceLog {
  /** What the start found. */
  readonly report: StartReport;
  /** Folder of the published files: serve it below `/log/evidence/`. */
  readonly publishedFolder: string;
  /** Proofs about what is published. */
  readonly proofs: LogProofs;
  readonly #files: FileLayer;
  readonly #folders: LogFolders;
  readonly #settings: EvidenceLogSettings;
  readonly #monotonicMs: () => number;
  readonly #onFailure: OnFailure;
  readonly #tree: LogTree;
  readonly #index: BatchIndex;
  readonly #store: SegmentStore;
  readonly #ring: TailRing;
  readonly #recorder: Recorder;
  readonly #rejects: Recorder;
  readonly #publisher: Publisher;
  readonly #release: ReleaseLock;
  #lastSnapshot: number;
  #closing: Promise<void> | undefined;

  private constructor(options: EvidenceLogOptions, parts: Parts) {
    const { state, settings, folders, files, published, release } = parts;
    this.#files = files;
    this.#folders = folders;
    this.#settings = settings;
    this.#monotonicMs = options.monotonicMs ?? (() => performance.now());
    this.#onFailure = options.onFailure ?? (() => undefined);
    this.#release = release;
    this.#tree = state.tree;
    this.#index = state.index;
    this.#store = state.store;
    this.#ring = new TailRing(settings.ringBytes);
    this.proofs = new LogProofs(
      new TileReader(files, folders.published),
      () => this.checkpoint?.size ?? 0,
    );
    this.#lastSnapshot = this.#monotonicMs();
    this.publishedFolder = folders.published;
    this.report = {
      size: state.segments.nextIndex,
      droppedBytes: state.segments.droppedBytes,
      dropped: [state.segments.dropped, state.rejects.dropped].filter((tail) => tail !== undefined),
      replayed: state.replayed,
      usedSnapshot: state.usedSnapshot,
    };
    const common = {
      ...settings,
      files,
      monotonicMs: this.#monotonicMs,
      onFailure: this.#onFailure,
    };
    this.#recorder = new Recorder({
      ...common,
      folder: folders.segments,
      writer: parts.segmentWriter,
      mark: parts.segmentMark,
      nextIndex: state.segments.nextIndex,
      onCommit: (commit) => this.#onCommit(commit),
      ...(options.onCommitted && { onCommitted: options.onCommitted }),
    });
    this.#rejects = new Recorder({
      ...common,
      folder: folders.rejects,
      writer: parts.rejectWriter,
      mark: parts.rejectMark,
      nextIndex: state.rejects.nextIndex,
      onCommit: () => undefined,
    });
    this.#publisher = new Publisher({
      files,
      folder: folders.published,
      origin: options.origin,
      tree: state.tree,
      published,
      sign: options.sign,
      monotonicMs: this.#monotonicMs,
      intervalMs: settings.publishIntervalMs,
      capture: () => (this.#isSnapshotDue() ? this.#capture() : undefined),
      onPublished: async (_checkpoint, captured) => {
        options.onPublished?.();
        if (captured !== undefined) await this.#saveSnapshot(captured);
      },
      onFailure: this.#onFailure,
    });
    this.#publisher.notify();
  }

  /**
   * Opens the log in a folder, which is made when missing, and checks it.
   *
   * @throws {BrokerError} ERR_LOG_CORRUPT, ERR_DATA_LOCKED.
   */
  static async open(options: EvidenceLogOptions): Promise<EvidenceLog> {
    const files = options.files ?? nodeFiles;
    const settings = { ...EVIDENCE_LOG_DEFAULTS, ...options.settings };
    const folders = {
      segments: join(options.folder, 'segments'),
      rejects: join(options.folder, 'rejects'),
      published: join(options.folder, 'published'),
      snapshot: join(options.folder, 'state.snapshot'),
    };
    for (const folder of [folders.segments, folders.rejects, folders.published]) {
      await files.makeFolder(folder);
    }
    await files.syncFolder(options.folder);
    const release = await files.lock(join(options.folder, 'lock'));
    try {
      await removeProbe(files, folders.segments);
      await removeProbe(files, folders.rejects);
      const published = await loadCheckpoint(files, folders.published, options.origin);
      const onFailure = options.onFailure ?? (() => undefined);
      const state = await readState({ files, folders, published, onFailure });
      const segmentWriter = await resumeWriter(files, folders.segments, state.segments);
      const rejectWriter = await resumeWriter(files, folders.rejects, state.rejects);
      return new EvidenceLog(options, {
        ...{ files, settings, folders, published, state, segmentWriter, rejectWriter, release },
        segmentMark: await markOf(files, folders.segments, state.segments),
        rejectMark: await markOf(files, folders.rejects, state.rejects),
      });
    } catch (error) {
      await release();
      throw error;
    }
  }

  /** Entries that are durable. */
  get size(): number {
    return this.#recorder.size;
  }

  /** The newest published checkpoint; null before the first. */
  get checkpoint(): PublishedCheckpoint | null {
    return this.#publisher.published;
  }

  /** Bytes that were appended and are not yet durable. */
  get pendingBytes(): number {
    return this.#recorder.pendingBytes;
  }

  /** Whether senders should be paused until `drained()`. */
  get isFull(): boolean {
    return this.#recorder.isFull;
  }

  /** Whether appends are answered with ERR_LOG_FULL: the disk has just refused, or the log is closed. */
  get isRefusing(): boolean {
    return this.#recorder.isRefusing;
  }

  /** Why the disk refuses entries or rejects; null when both can be written again, as far as is known. */
  get problem(): BrokerError | null {
    return this.#recorder.failure ?? this.#rejects.failure;
  }

  /** Resolves when `isFull` is false. */
  async drained(): Promise<void> {
    await this.#recorder.drained();
  }

  /**
   * Whether an envelope is recorded. At once in nearly all cases; a promise when it is on its way to the disk, or its
   * digest must be looked up in a closed segment.
   */
  judge(key: EnvelopeKey, digest: Uint8Array): Judgement | Promise<Judgement> {
    const boot = this.#index.findBoot(key);
    if (boot === undefined) return 'new';
    const flight = this.#index.inFlight(boot, key.seq);
    if (flight !== undefined) {
      return new Promise((resolve) => {
        flight.waiting ??= [];
        flight.waiting.push({
          digest,
          tell: (isDurable, isSame) =>
            resolve(isDurable ? (isSame ? 'duplicate' : 'equivocation') : 'new'),
        });
      });
    }
    return boot.recorded.has(key.seq) ? this.#compare(boot, digest) : 'new';
  }

  /**
   * Records a verified envelope unless it is recorded already, and says how that ended: once, in the order of the
   * calls for new ones, after it is durable. Never throws for the disk's sake, never calls back before it returns.
   *
   * @param body - the envelope as received; not to be written to afterwards.
   * @throws {ProtocolError} ERR_ENTRY_MALFORMED when the entry is not allowed.
   */
  appendBatch(
    entry: BatchEntry,
    body: Uint8Array,
    onOutcome: (outcome: AppendOutcome) => void,
  ): void {
    const bytes = encodeBatchEntry(entry);
    const device = this.#index.device(entry.device);
    const boot = device.boots.at(entry.bootCounter, seedNumber(entry.bootSeed));
    const { seq } = entry;
    const flight = this.#index.inFlight(boot, seq);
    if (flight !== undefined) {
      const digest = entry.digest.slice();
      flight.waiting ??= [];
      flight.waiting.push({
        digest,
        tell: (isDurable, isSame) =>
          onOutcome(isDurable ? { kind: isSame ? 'duplicate' : 'equivocation' } : refusal()),
      });
      return;
    }
    if (boot.recorded.has(seq)) {
      void this.#tellRecorded(boot, entry.digest.slice(), onOutcome);
      return;
    }
    this.#index.depart(boot, seq, entry.digest);
    this.#recorder.append(bytes, body, (error, index, leafHash) => {
      const arrived = this.#index.arrive(boot, seq);
      if (error === null) this.#index.applyTo(device, boot, { entry, body, index, leafHash });
      try {
        onOutcome(error === null ? { kind: 'accepted', index, leafHash } : refusal(error));
      } finally {
        tellWaiting(arrived, error === null);
      }
    });
  }

  /**
   * Appends an entry of another type.
   *
   * @returns where it is, once it is durable.
   * @throws {ProtocolError} ERR_ENTRY_MALFORMED.
   * @throws {BrokerError} ERR_LOG_FULL when the disk refuses, or the log is closed.
   */
  append(entry: Exclude<EvidenceEntry, BatchEntry>): Promise<EntryRef> {
    return new Promise((resolve, reject) => {
      const bytes = encodeEvidenceEntry(entry);
      this.#recorder.append(bytes, NO_BODY, (error, index, leafHash) => {
        if (error !== null) {
          reject(error);
          return;
        }
        this.#index.applyOther(entry, { index, leafHash });
        resolve({ index, leafHash });
      });
    });
  }

  /**
   * Settles a seq by a permanent reject, durably. To be called only for envelopes whose signature verified; a seq that
   * is recorded stays so.
   *
   * @returns whether it is settled: not when the device has as many rejects unacknowledged as it may (settlement.md 1.5).
   * @throws {BrokerError} ERR_LOG_FULL when the disk refuses, or the log is closed.
   */
  settleReject(reject: SettledReject): Promise<boolean> {
    const { seq, code } = reject;
    const device = this.#index.device(reject.device);
    const known = this.#index.findBoot(reject);
    if (known?.recorded.has(seq) || known?.rejected.get(seq) === code) return Promise.resolve(true);
    const held = device.boots.unacknowledged + device.rejecting;
    if (held >= MAX_UNACKNOWLEDGED && !known?.rejected.has(seq)) return Promise.resolve(false);
    const record = encodeReject({ ...reject, logSize: this.size });
    device.rejecting += 1;
    return new Promise((resolve, fail) => {
      this.#rejects.append(record, NO_BODY, (error) => {
        device.rejecting -= 1;
        if (error !== null) {
          fail(error);
          return;
        }
        this.#index.boot(reject).reject(seq, code);
        resolve(true);
      });
    });
  }

  /** What a receipt for a device says now. */
  receiptFor(device: Uint8Array): ReceiptParts {
    const record = this.#index.find(device);
    const { checkpoint } = this;
    return {
      boots: record?.boots.receipt() ?? [],
      entry: record?.newest ?? null,
      heads: checkpoint === null ? [] : [[0, checkpoint.size, checkpoint.root]],
      checkpoint: checkpoint?.text ?? null,
    };
  }

  /**
   * The boots of a device that have entries, in the order of their first ones; read only. Those that are only named by
   * a gap or a reject were never recorded.
   */
  bootsOf(device: Uint8Array): readonly Boot[] {
    const boots = this.#index.find(device)?.boots.all() ?? [];
    return boots
      .filter(({ firstIndex }) => firstIndex >= 0)
      .sort((a, b) => a.firstIndex - b.firstIndex);
  }

  /**
   * Frames from an index on, byte for byte, in chunks of whole frames.
   *
   * @throws {BrokerError} ERR_INDEX_RANGE, at once, when `from` is above the size.
   */
  tail(from: number, options: TailOptions = {}): AsyncGenerator<Uint8Array, void, void> {
    return tail({ ring: this.#ring, store: this.#store }, from, options);
  }

  /**
   * One frame.
   *
   * @throws {BrokerError} ERR_INDEX_RANGE; ERR_LOG_CORRUPT when it has changed on disk.
   */
  readFrame(index: number): Promise<Frame> {
    return this.#store.readFrame(index);
  }

  /** The envelope with that digest; undefined when it is not recorded or was erased. */
  async bodyByDigest(digest: Uint8Array): Promise<Uint8Array | undefined> {
    const index = await this.#store.find(digest);
    if (index === undefined) return undefined;
    const { body } = await this.#store.readFrame(index);
    return equalBytes(nativeSha256(body), digest) ? body : undefined;
  }

  /** Publishes what is durable now, without waiting for the interval. */
  async publish(): Promise<void> {
    await this.#publisher.publish();
  }

  /** Refuses new entries, makes the others durable, publishes, writes a snapshot, gives the lock back. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      await this.#recorder.close();
      await this.#rejects.close();
      this.#ring.close();
      await this.#publisher.publish();
      await this.#publisher.close();
      await this.#store.settled();
      if (this.#tree.unpublished === 0 && this.size > 0) await this.#saveSnapshot(this.#capture());
    } catch (error) {
      // What is durable stays so; the next start reads more frames.
      this.#onFailure(error);
      await this.#publisher.close();
    } finally {
      await this.#release();
    }
  }

  #onCommit({ firstIndex, records, chunk, segment }: Commit): void {
    if (this.#store.openFirst !== segment) this.#store.begin(segment);
    for (const { entry, body, leafHash } of records) {
      this.#store.add(frameSize(entry.length, body.length), digestOfOurs(entry));
      this.#tree.append(leafHash, entry);
    }
    this.#ring.push({ bytes: chunk, firstIndex, count: records.length });
    this.#publisher.notify();
  }

  #compare(boot: Boot, digest: Uint8Array): Judgement | Promise<Judgement> {
    if (this.#store.findInOpen(digest) !== undefined) return 'duplicate';
    if (boot.firstIndex >= (this.#store.openFirst ?? 0)) return 'equivocation';
    const range = { from: boot.firstIndex, to: boot.lastIndex };
    return this.#store
      .find(digest, range)
      .then((index) => (index === undefined ? 'equivocation' : 'duplicate'));
  }

  async #tellRecorded(
    boot: Boot,
    digest: Uint8Array,
    onOutcome: (outcome: AppendOutcome) => void,
  ): Promise<void> {
    let outcome: AppendOutcome;
    try {
      const judgement = await this.#compare(boot, digest);
      outcome = { kind: judgement === 'duplicate' ? 'duplicate' : 'equivocation' };
    } catch (cause) {
      this.#onFailure(cause);
      outcome = refusal(new BrokerError('ERR_LOG_FULL', 'the log cannot be read', { cause }));
    }
    onOutcome(outcome);
  }

  #isSnapshotDue(): boolean {
    const due = this.#lastSnapshot + this.#settings.snapshotIntervalMs;
    return this.#monotonicMs() >= due;
  }

  #capture(): Uint8Array {
    this.#lastSnapshot = this.#monotonicMs();
    return encodeSnapshot({
      size: this.#tree.size,
      tree: this.#tree.state(),
      closed: this.#store.closed,
      segment: this.#store.openFirst ?? 0,
      rejects: this.#rejects.size,
      index: this.#index,
    });
  }

  async #saveSnapshot(bytes: Uint8Array): Promise<void> {
    await replaceFile(this.#files, this.#folders.snapshot, bytes);
  }
}

/** What `open` hands to the constructor. */
interface Parts {
  readonly files: FileLayer;
  readonly settings: EvidenceLogSettings;
  readonly folders: LogFolders;
  readonly published: PublishedCheckpoint | null;
  readonly state: StartState;
  readonly segmentWriter: Awaited<ReturnType<typeof resumeWriter>>;
  readonly rejectWriter: Awaited<ReturnType<typeof resumeWriter>>;
  readonly segmentMark: AcknowledgedMark;
  readonly rejectMark: AcknowledgedMark;
  readonly release: ReleaseLock;
}

/** The mark of a folder, which speaks of what was found in it. */
async function markOf(
  files: FileLayer,
  folder: string,
  { last }: ReplayResult,
): Promise<AcknowledgedMark> {
  const mark = new AcknowledgedMark(files, folder);
  if (last !== undefined) mark.note(last);
  await mark.settled();
  return mark;
}

function refusal(error = new BrokerError('ERR_LOG_FULL', 'the disk refuses to be written')): {
  readonly kind: 'refused';
  readonly error: BrokerError;
} {
  return { kind: 'refused', error };
}
