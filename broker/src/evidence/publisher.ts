/**
 * Publishes the log as static files (evidence-log.md section 3, C2SP tlog-tiles): new tiles and entry bundles, made
 * durable first, then the signed checkpoint that speaks of them. Whatever happens in between, the checkpoint on disk
 * is one whose tiles are there, and the next one is never smaller.
 */

import { dirname, join } from 'node:path';
import type { Checkpoint } from '@fieldproof/protocol/checkpoint';
import { parseCheckpoint } from '@fieldproof/protocol/checkpoint';
import { parseNote } from '@fieldproof/protocol/signed-note';
import { type FileLayer, replaceFile } from './file-layer.ts';
import type { LogTree, PublishedFile } from './log-tree.ts';
import { corrupt } from './segment-file.ts';

/** Files written at a time; fsyncs that overlap share journal commits. */
const CONCURRENT_WRITES = 8;

/** A checkpoint that is on disk, with its text as served. */
export interface PublishedCheckpoint extends Checkpoint {
  readonly text: string;
}

export interface PublisherOptions {
  readonly files: FileLayer;
  readonly folder: string;
  readonly origin: string;
  readonly tree: LogTree;
  /** The newest checkpoint on disk. */
  readonly published: PublishedCheckpoint | null;
  /** Signs a checkpoint as the log; the same text for the same head. */
  readonly sign: (checkpoint: Checkpoint) => string | Promise<string>;
  readonly monotonicMs: () => number;
  readonly intervalMs: number;
  /** Called at the instant whose state is being published; the result is handed to `onPublished`. */
  readonly capture: () => Uint8Array | undefined;
  readonly onPublished: (
    checkpoint: PublishedCheckpoint,
    captured: Uint8Array | undefined,
  ) => Promise<void>;
  readonly onFailure: (error: unknown) => void;
}

/**
 * The checkpoint in a folder of published files, or null before the first. Its signature is our own and not verified.
 *
 * @throws {BrokerError} ERR_LOG_CORRUPT when the file is no checkpoint of that origin.
 */
export async function loadCheckpoint(
  files: FileLayer,
  folder: string,
  origin: string,
): Promise<PublishedCheckpoint | null> {
  const path = join(folder, 'checkpoint');
  const bytes = await files.readFile(path);
  if (bytes === undefined) return null;
  let checkpoint: Checkpoint;
  try {
    checkpoint = parseCheckpoint(parseNote(bytes).text);
  } catch (cause) {
    throw corrupt(path, 'expected a checkpoint, got other bytes', cause);
  }
  if (checkpoint.origin !== origin) {
    throw corrupt(path, `expected origin ${origin}, got ${checkpoint.origin}`);
  }
  return { ...checkpoint, text: new TextDecoder().decode(bytes) };
}

export class Publisher {
  readonly #options: PublisherOptions;
  readonly #folders = new Set<string>();
  #published: PublishedCheckpoint | null;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #lastStart = Number.NEGATIVE_INFINITY;
  #hasPublished = false;
  #isClosed = false;

  constructor(options: PublisherOptions) {
    this.#options = options;
    this.#published = options.published;
  }

  /** The newest checkpoint that is durable; null before the first. */
  get published(): PublishedCheckpoint | null {
    return this.#published;
  }

  /** Publishes soon: at once, or `intervalMs` after the last time began. */
  notify(): void {
    if (this.#timer !== undefined || this.#running !== undefined || this.#isClosed) return;
    if (this.#options.tree.unpublished === 0) return;
    const wait = this.#lastStart + this.#options.intervalMs - this.#options.monotonicMs();
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.publish().catch(this.#options.onFailure);
      },
      Math.max(wait, 0),
    );
  }

  /** Publishes the present size. Rejects when the disk does; all of it is tried again the next time. */
  async publish(): Promise<void> {
    const before = this.#running ?? Promise.resolve();
    const run = before.catch(() => undefined).then(() => this.#publish());
    this.#running = run;
    try {
      await run;
    } finally {
      if (this.#running === run) this.#running = undefined;
      this.notify();
    }
  }

  /** Ends; publishes nothing more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#running?.catch(() => undefined);
  }

  async #publish(): Promise<void> {
    const { files, folder, origin, tree, sign } = this.#options;
    if (tree.unpublished === 0) return;
    this.#lastStart = this.#options.monotonicMs();
    // Everything that must be of one instant is taken before the first await.
    const { size, root, files: tiles } = tree.publication();
    const captured = this.#options.capture();
    await this.#writeTiles(tiles);
    const text = await sign({ origin, size, root });
    await replaceFile(files, join(folder, 'checkpoint'), new TextEncoder().encode(text));
    await files.syncFolder(folder);
    tree.markPublished(size);
    this.#published = { origin, size, root, text };
    await this.#options.onPublished(this.#published, captured);
    await this.#removePartials(tiles);
  }

  async #writeTiles(tiles: readonly PublishedFile[]): Promise<void> {
    const { files, folder } = this.#options;
    const touched = new Set<string>();
    const queue = [...tiles];
    const work = async () => {
      for (let tile = queue.pop(); tile !== undefined; tile = queue.pop()) {
        const path = join(folder, tile.path);
        await this.#makeFolder(dirname(path), touched);
        await replaceFile(files, path, tile.bytes);
        touched.add(dirname(path));
      }
    };
    // All of them end before a failure is reported: the next attempt writes the same files.
    const ends = await Promise.allSettled(Array.from({ length: CONCURRENT_WRITES }, work));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
    await Promise.all([...touched].map((path) => files.syncFolder(path)));
  }

  /** Makes a folder; those above it are noted as touched, because they have a new name in them. */
  async #makeFolder(path: string, touched: Set<string>): Promise<void> {
    if (this.#folders.has(path)) return;
    await this.#options.files.makeFolder(path);
    for (let above = path; above.startsWith(this.#options.folder); above = dirname(above)) {
      touched.add(above);
    }
    this.#folders.add(path);
  }

  /** Partial tiles are of no use beside the full one. What a crash leaves behind does no harm. */
  async #removePartials(tiles: readonly PublishedFile[]): Promise<void> {
    const { files, folder } = this.#options;
    for (const { path } of tiles) {
      if (path.includes('.p/')) continue;
      const partials = join(folder, `${path}.p`);
      // What an earlier run has written is known by looking only.
      if (this.#folders.delete(partials) || !this.#hasPublished) await files.remove(partials);
    }
    this.#hasPublished = true;
  }
}
