/**
 * How far a folder of segments is acknowledged (evidence-log.md section 2.8): one file of 32 bytes that is written in
 * place after each fdatasync of a segment, and not synced itself. So after a power cut it may say less than was
 * acknowledged and never more, and after the death of the process it says what was, but perhaps the last commit.
 *
 * With it a start tells a commit that a power cut tore, of which nothing was acknowledged, from damage to what was.
 */

import { join } from 'node:path';
import { crc32c } from '@fieldproof/protocol/crc32c';
import type { FileLayer, LogFile } from './file-layer.ts';

const NAME = 'acknowledged';
const MAGIC = new TextEncoder().encode('fieldproof-ack-1');
/** magic, crc32c u32, first u64, length u32. */
const MARK_BYTES = 32;

/** The bytes of a segment that are durable, and acknowledged or about to be. */
export interface Acknowledged {
  /** First index of the segment. */
  readonly first: number;
  /** Bytes from its beginning. */
  readonly length: number;
}

/** The mark in a folder; undefined when it is missing or is no mark, and nothing is known. */
export async function readMark(
  files: FileLayer,
  folder: string,
): Promise<Acknowledged | undefined> {
  const bytes = await files.readFile(join(folder, NAME));
  if (bytes?.length !== MARK_BYTES || MAGIC.some((byte, i) => bytes[i] !== byte)) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(16) !== crc32c(bytes, 20)) return undefined;
  const first = Number(view.getBigUint64(20));
  return Number.isSafeInteger(first) ? { first, length: view.getUint32(28) } : undefined;
}

/** Writes the mark of a folder. Failures are of no consequence: an old mark permits less. */
export class AcknowledgedMark {
  readonly #files: FileLayer;
  readonly #path: string;
  #file: LogFile | undefined;
  #next: Acknowledged | undefined;
  #writing: Promise<void> | undefined;

  constructor(files: FileLayer, folder: string) {
    this.#files = files;
    this.#path = join(folder, NAME);
  }

  /** Writes it by and by; of several that wait, the last. */
  note(at: Acknowledged): void {
    this.#next = at;
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
    });
  }

  /** Resolves when the newest mark is in the file. */
  async settled(): Promise<void> {
    await this.#writing;
  }

  async close(): Promise<void> {
    await this.#writing;
    const file = this.#file;
    this.#file = undefined;
    // Of use after a power cut only, which takes nothing that was acknowledged.
    await file?.sync().catch(() => undefined);
    await file?.close().catch(() => undefined);
  }

  async #write(): Promise<void> {
    for (let at = this.#next; at !== undefined; at = this.#next) {
      this.#next = undefined;
      try {
        this.#file ??= await this.#files.open(this.#path, 'write');
        await this.#file.write(0, encodeMark(at));
      } catch {
        // A full disk, at the first time; the recorder says what it refuses.
      }
    }
  }
}

function encodeMark({ first, length }: Acknowledged): Uint8Array {
  const bytes = new Uint8Array(MARK_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC);
  view.setBigUint64(20, BigInt(first));
  view.setUint32(28, length);
  view.setUint32(16, crc32c(bytes, 20));
  return bytes;
}
