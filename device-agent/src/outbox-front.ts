/**
 * The front of the outbox: what was sealed lately lies in memory, and in a file of a memory-backed folder (tmpfs) that
 * outlives the process but not the machine. What the network has proved to have before it is due never touches the
 * card; the rest is spilled there by the outbox. docs/decisions/022.
 *
 * The file is a segment like the others: marks of what is settled, then envelopes. It begins anew whenever nothing
 * waits in it.
 */

import { join } from 'node:path';
import { type Disk, type DiskFile, writeAll } from './disk.ts';
import type { EnvelopeRecord, OutboxBody } from './outbox-frame.ts';
import { SEGMENT_MAGIC, scanSegment } from './outbox-segment.ts';

const FILE = 'front.seg';

export interface FrontOptions {
  /** On a tmpfs; of this outbox alone. */
  readonly folder: string;
  readonly disk: Disk;
  readonly maxBytes: number;
}

export interface FrontItem {
  readonly record: EnvelopeRecord;
  readonly frame: Uint8Array;
  /** Its number since the start, ascending. */
  readonly at: number;
  /** Monotonic ms at which it came. */
  readonly sinceMs: number;
}

export class OutboxFront {
  readonly #options: FrontOptions;
  #items: FrontItem[] = [];
  #file: DiskFile | undefined;
  /** Bytes of the file. */
  #length = 0;
  #next = 0;

  constructor(options: FrontOptions) {
    this.#options = options;
  }

  /** Reads what an earlier process has left. A folder or file that cannot be read holds nothing. */
  async open(): Promise<readonly OutboxBody[]> {
    const { disk, folder } = this.#options;
    await disk.makeFolder(folder);
    const path = join(folder, FILE);
    const found: OutboxBody[] = [];
    const left = await disk.open(path, 'r', 0o600).catch(() => undefined);
    if (left !== undefined) {
      try {
        for await (const item of scanSegment(left))
          if (item.type === 'frame') found.push(item.body);
      } finally {
        await left.close();
      }
    }
    this.#file = await disk.open(path, left === undefined ? 'w+' : 'r+', 0o600);
    this.#length = (await this.#file.stat()).size;
    return found;
  }

  /** How many have been through it: the number of the next. */
  get end(): number {
    return this.#next;
  }

  /** Bytes of the envelopes in it. */
  get bytes(): number {
    return this.#items.reduce((sum, { frame }) => sum + frame.length, 0);
  }

  get items(): readonly FrontItem[] {
    return this.#items;
  }

  /** Whether so many bytes more fit. */
  fits(bytes: number): boolean {
    return this.#length + bytes <= this.#options.maxBytes;
  }

  /** Takes one up that lies in the file already. */
  adopt(record: EnvelopeRecord, frame: Uint8Array, sinceMs: number): void {
    this.#items.push({ record, frame, at: this.#next, sinceMs });
    this.#next += 1;
  }

  /** Keeps one. Afterwards the death of the process does not lose it. */
  async add(record: EnvelopeRecord, frame: Uint8Array, sinceMs: number): Promise<void> {
    await this.#write([frame]);
    this.adopt(record, frame, sinceMs);
  }

  /** The first from this number on. */
  from(at: number): FrontItem | undefined {
    return this.#items.find((item) => item.at >= at);
  }

  /** Lets go of what is not kept any more. The file has it until `restart`. */
  keepOnly(isKept: (record: EnvelopeRecord) => boolean): void {
    this.#items = this.#items.filter(({ record }) => isKept(record));
  }

  /** Lets go of what has a number up to this. */
  release(through: number): void {
    this.#items = this.#items.filter(({ at }) => at > through);
  }

  /**
   * Begins the file anew, with these frames and what waits: beside the old one, which it replaces when it is whole, so
   * that the death of the process loses nothing in between.
   */
  async restart(marks: readonly Uint8Array[]): Promise<void> {
    const { disk, folder } = this.#options;
    const [path, fresh] = [join(folder, FILE), join(folder, `${FILE}.new`)];
    const frames = this.#items.map(({ frame }) => frame);
    const bytes = Buffer.concat([SEGMENT_MAGIC, ...marks, ...frames]);
    const file = await disk.open(fresh, 'w+', 0o600);
    try {
      await writeAll(file, bytes, 0);
      await disk.rename(fresh, path);
    } catch (error) {
      await file.close().catch(() => {});
      await disk.remove(fresh).catch(() => {});
      throw error;
    }
    const old = this.#file;
    this.#file = file;
    this.#length = bytes.length;
    await old?.close().catch(() => {});
  }

  /** Bytes of the file that nobody waits for. */
  get slack(): number {
    return this.#length - this.bytes;
  }

  /** @param isEmpty - whether to remove the file: all is settled, or on the card. */
  async close(isEmpty: boolean): Promise<void> {
    await this.#file?.close();
    this.#file = undefined;
    const { disk, folder } = this.#options;
    if (isEmpty) await disk.remove(join(folder, FILE)).catch(() => {});
  }

  async #write(frames: readonly Uint8Array[]): Promise<void> {
    if (this.#file === undefined) throw new Error('the front is closed');
    const begin = this.#length === 0 ? [SEGMENT_MAGIC] : [];
    const bytes = Buffer.concat([...begin, ...frames]);
    try {
      await writeAll(this.#file, bytes, this.#length);
    } catch (error) {
      await this.#file.truncate(this.#length).catch(() => {});
      throw error;
    }
    this.#length += bytes.length;
  }
}
