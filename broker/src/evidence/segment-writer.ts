/**
 * Appends chunks of frames to one segment and knows how much of it is durable. evidence-log.md section 2.1.
 *
 * After a failed write or sync nothing that the system says about the file's cached pages is believed: `recover`
 * opens the file afresh and cuts it back to what was durable before.
 */

import { join } from 'node:path';
import type { FileLayer, LogFile } from './file-layer.ts';
import { SEGMENT_MAGIC, segmentName } from './segment-file.ts';

export class SegmentWriter {
  /** Index of the first frame. */
  readonly first: number;
  readonly path: string;
  readonly #files: FileLayer;
  #file: LogFile;
  #length: number;
  #isBroken = false;

  private constructor(files: FileLayer, path: string, opened: { first: number; file: LogFile }) {
    this.#files = files;
    this.path = path;
    this.first = opened.first;
    this.#file = opened.file;
    this.#length = 0;
  }

  /**
   * A new segment with nothing but its first bytes, durable in its folder. A file of that name, left over from an
   * attempt that failed, is emptied.
   */
  static async create(files: FileLayer, folder: string, first: number): Promise<SegmentWriter> {
    const path = join(folder, segmentName(first));
    const file = await files.open(path, 'write');
    const writer = new SegmentWriter(files, path, { first, file });
    try {
      await file.truncate(0);
      await file.write(0, SEGMENT_MAGIC);
      await file.sync();
      await files.syncFolder(folder);
    } catch (error) {
      await file.close().catch(() => undefined);
      throw error;
    }
    writer.#length = SEGMENT_MAGIC.length;
    return writer;
  }

  /** An existing segment, cut back to `length` bytes, which are made durable. */
  static async resume(
    files: FileLayer,
    folder: string,
    segment: { readonly first: number; readonly length: number },
  ): Promise<SegmentWriter> {
    const path = join(folder, segmentName(segment.first));
    const file = await files.open(path, 'write');
    const writer = new SegmentWriter(files, path, { first: segment.first, file });
    writer.#length = segment.length;
    await writer.#cutBack();
    return writer;
  }

  /** Durable bytes, the first 16 included. */
  get length(): number {
    return this.#length;
  }

  /** Whether {@link SegmentWriter.recover} must succeed before the next append. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** Appends bytes and makes them durable: one write, one fdatasync. When it rejects, none of them count. */
  async append(bytes: Uint8Array): Promise<void> {
    if (this.#isBroken) throw new Error(`${this.path}: append before recovery`);
    try {
      await this.#file.write(this.#length, bytes);
      await this.#file.sync();
    } catch (error) {
      this.#isBroken = true;
      throw error;
    }
    this.#length += bytes.length;
  }

  /** Opens the file again and cuts off what is not durable. Rejects, and stays broken, when that fails too. */
  async recover(): Promise<void> {
    await this.#file.close().catch(() => undefined);
    this.#file = await this.#files.open(this.path, 'write');
    await this.#cutBack();
    this.#isBroken = false;
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async #cutBack(): Promise<void> {
    if ((await this.#file.size()) !== this.#length) await this.#file.truncate(this.#length);
    await this.#file.sync();
  }
}
