/**
 * The raw store: chunks, states and results in append-only segments under `state/raw`, so that every result can be
 * computed again as long as they are kept. It is also what the streams recover from: the states at the head of the
 * newest segment, and the chunks behind them.
 *
 * A new segment begins only where nothing is pending. Appending does not sync; `sync` comes before a result is sealed.
 * A torn end is cut off and told; behind other damage a segment is read no further. The oldest segments go when the
 * store is full or they are older than the audit window by a clock that is believed.
 */

import { join } from 'node:path';
import { type Disk, type DiskFile, writeAll } from '../disk.ts';
import { AgentError, codeOf, reasonOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { encodeRawFrame, RAW_MAGIC, type RawRecord, readSegment } from './raw-frame.ts';

const SEGMENT_NAME = /^(\d{10})\.raw$/;
const MAX_SEGMENT_BYTES = 256 * 1024;
/** A segment is closed after it, so that the oldest go in small steps. */
const MAX_SEGMENT_MS = 12 * 3_600_000;
const DAY_MS = 86_400_000;

export interface RawStoreOptions {
  readonly folder: string;
  readonly disk: Disk;
  readonly log: Log;
  readonly maxBytes: number;
  readonly keepDays: number;
  readonly monotonicMs: () => number;
}

export interface RawStats {
  readonly bytes: number;
  readonly segments: number;
  /** Segments that made room. */
  readonly evicted: number;
  /** Bytes of torn or damaged records that were found at the start. */
  readonly damagedBytes: number;
}

interface Segment {
  readonly index: number;
  bytes: number;
  /** Newest time in it by a clock that was believed; undefined before it was looked for. */
  newestMs?: number | null;
}

type StatesRecord = Extract<RawRecord, { type: 'states' }>;

export class RawStore {
  readonly #options: RawStoreOptions;
  #segments: Segment[] = [];
  #file: DiskFile | undefined;
  #isNew = false;
  #headBytes = 0;
  #beganMs = 0;
  #evicted = 0;
  #damagedBytes = 0;

  constructor(options: RawStoreOptions) {
    this.#options = options;
  }

  stats(): RawStats {
    const bytes = this.#segments.reduce((sum, segment) => sum + segment.bytes, 0);
    const [evicted, damagedBytes] = [this.#evicted, this.#damagedBytes];
    return { bytes, segments: this.#segments.length, evicted, damagedBytes };
  }

  /**
   * Looks at what is there.
   *
   * @returns the records of the newest segment that has a head, and the number behind the last chunk.
   * @throws {AgentError} ERR_AGENT_RAW
   */
  async open(): Promise<{ readonly records: readonly RawRecord[]; readonly nextChunk: number }> {
    const { folder, disk, log, monotonicMs } = this.#options;
    return await this.#trying('open', async () => {
      await disk.makeFolder(folder);
      this.#segments = await listSegments(folder, disk);
      let records: readonly RawRecord[] = [];
      for (let last = this.#segments.at(-1); last !== undefined; last = this.#segments.at(-1)) {
        const segment = await disk.readFile(this.#pathOf(last));
        const read = readSegment(segment);
        const lost = segment.length - read.length;
        if (lost > 0) {
          this.#damagedBytes += lost;
          log.warn('raw readings: a torn write was cut off', { segment: last.index, bytes: lost });
        }
        if (read.records[0]?.type === 'states') {
          records = read.records;
          last.bytes = read.length;
          this.#file = await disk.open(this.#pathOf(last), 'r+', 0o600);
          if (lost > 0) await this.#file.truncate(read.length);
          this.#headBytes = encodeRawFrame(read.records[0]).length;
          this.#beganMs = monotonicMs();
          break;
        }
        // A power cut came before its first sync: nothing in it was ever named by a result.
        await disk.remove(this.#pathOf(last));
        this.#segments.pop();
      }
      const numbers = records.flatMap((each) => (each.type === 'chunk' ? [each.number] : []));
      const nextChunk = Math.max(-1, ...numbers) + 1;
      if (nextChunk > 0 || this.#segments.length < 2) return { records, nextChunk };
      return { records, nextChunk: await this.#nextChunkBefore(this.#segments.length - 1) };
    });
  }

  /** Whether the next record has to go into a new segment, which begins with states. */
  get needsHead(): boolean {
    return this.#file === undefined;
  }

  /** Whether a new segment is due, once nothing is pending. */
  get isLong(): boolean {
    const { monotonicMs } = this.#options;
    const bytes = this.#segments.at(-1)?.bytes ?? 0;
    const limit = Math.max(MAX_SEGMENT_BYTES, 4 * this.#headBytes);
    return bytes >= limit || monotonicMs() - this.#beganMs >= MAX_SEGMENT_MS;
  }

  /** Begins a new segment. @throws {AgentError} ERR_AGENT_RAW */
  async begin(head: StatesRecord): Promise<void> {
    const { disk, monotonicMs } = this.#options;
    await this.#trying('begin', async () => {
      await this.#file?.close();
      this.#file = undefined;
      const segment: Segment = { index: (this.#segments.at(-1)?.index ?? 0) + 1, bytes: 0 };
      const frame = encodeRawFrame(head);
      this.#file = await disk.open(this.#pathOf(segment), 'w+', 0o600);
      await writeAll(this.#file, Buffer.concat([RAW_MAGIC, frame]), 0);
      segment.bytes = RAW_MAGIC.length + frame.length;
      this.#segments.push(segment);
      this.#headBytes = frame.length;
      this.#beganMs = monotonicMs();
      this.#isNew = true;
    });
  }

  /** Appends records; they are durable after `sync`. @throws {AgentError} ERR_AGENT_RAW */
  async append(records: readonly RawRecord[]): Promise<void> {
    await this.#trying('append', async () => {
      const segment = this.#segments.at(-1)!;
      const bytes = Buffer.concat(records.map(encodeRawFrame));
      await writeAll(this.#file!, bytes, segment.bytes);
      segment.bytes += bytes.length;
    });
  }

  /** @throws {AgentError} ERR_AGENT_RAW */
  async sync(): Promise<void> {
    await this.#trying('sync', async () => {
      await this.#file?.datasync();
      if (this.#isNew) await this.#options.disk.syncFolder(this.#options.folder);
      this.#isNew = false;
    });
  }

  /**
   * Lets the oldest go, never the segment that is written to.
   *
   * @param unixMs - by a clock that is believed, or null: then nothing is old.
   */
  async evict(unixMs: number | null): Promise<void> {
    const { disk, log, maxBytes, keepDays } = this.#options;
    while (this.#segments.length > 1) {
      const oldest = this.#segments[0]!;
      const isFull = this.stats().bytes > maxBytes;
      const isOld = unixMs !== null && (await this.#ageOf(0, unixMs)) > keepDays * DAY_MS;
      if (!isFull && !isOld) return;
      try {
        await disk.remove(this.#pathOf(oldest));
      } catch (error) {
        log.warn('old raw readings not removed', { reason: reasonOf(error) });
        return;
      }
      this.#segments.shift();
      this.#evicted += 1;
      if (isFull) log.info('raw readings: full, the oldest went', { bytes: oldest.bytes });
    }
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close().catch(() => {});
  }

  #pathOf({ index }: Segment): string {
    return join(this.#options.folder, `${String(index).padStart(10, '0')}.raw`);
  }

  /** Of the newest reading in it, or in the first one behind it that tells: at least so old. */
  async #ageOf(place: number, unixMs: number): Promise<number> {
    for (const segment of this.#segments.slice(place, -1)) {
      if (segment.newestMs === undefined) {
        const bytes = await this.#options.disk
          .readFile(this.#pathOf(segment))
          .catch(() => undefined);
        segment.newestMs = bytes === undefined ? null : newestOf(readSegment(bytes).records);
      }
      if (segment.newestMs !== null) return unixMs - segment.newestMs;
    }
    return 0;
  }

  /** For a newest segment without chunks: the number behind those of the one before. */
  async #nextChunkBefore(place: number): Promise<number> {
    for (let at = place - 1; at >= 0; at--) {
      const { records } = readSegment(
        await this.#options.disk.readFile(this.#pathOf(this.#segments[at]!)),
      );
      const numbers = records.flatMap((each) => (each.type === 'chunk' ? [each.number] : []));
      if (numbers.length > 0) return Math.max(...numbers) + 1;
    }
    return 0;
  }

  /** After a failure nobody knows what is on the disk: the next record begins a new segment. */
  async #trying<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      const file = this.#file;
      this.#file = undefined;
      await file?.close().catch(() => {});
      const { folder } = this.#options;
      throw new AgentError('ERR_AGENT_RAW', `${folder}: ${what}: ${reasonOf(cause)}`, { cause });
    }
  }
}

/** The records of all segments, oldest first, for those who only read; a segment that goes meanwhile is left out. */
export async function* readRawSegments(
  folder: string,
  disk: Disk,
): AsyncGenerator<readonly RawRecord[]> {
  const segments = await listSegments(folder, disk).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  });
  for (const { index } of segments) {
    const path = join(folder, `${String(index).padStart(10, '0')}.raw`);
    const bytes = await disk.readFile(path).catch((error: unknown) => {
      if (codeOf(error) === 'ENOENT') return new Uint8Array();
      throw error;
    });
    yield readSegment(bytes).records;
  }
}

async function listSegments(folder: string, disk: Disk): Promise<Segment[]> {
  const segments: Segment[] = [];
  for (const name of (await disk.readdir(folder)).sort()) {
    const [, index] = SEGMENT_NAME.exec(name) ?? [];
    if (index === undefined) continue;
    const { size } = await disk.stat(join(folder, name));
    segments.push({ index: Number(index), bytes: size });
  }
  return segments;
}

function newestOf(records: readonly RawRecord[]): number | null {
  let newest: number | null = null;
  for (const each of records) if (each.type === 'chunk') newest = each.unixMs ?? newest;
  return newest;
}
