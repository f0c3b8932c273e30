/**
 * Envelopes that the network refused for good: kept for the owner to look at, the oldest out when there are
 * too many. One file each, `<boot>-<seed>-<seq>.<code>.cose`, so that any COSE tool can open it.
 */

import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MAX_REJECTS_SEEN } from '@fieldproof/protocol/messages';
import { type Boot, bootKey } from './boot.ts';
import { makeFolder, replaceFile } from './durable-file.ts';

const NAME = /^(\d+)-([0-9a-f]{8})-(\d+)\.(ERR_[A-Z0-9_]+)\.cose$/;

export interface Parked {
  readonly boot: Boot;
  readonly seq: number;
  readonly code: string;
  readonly atMs: number;
}

/** Which envelope. */
export type ParkedId = Pick<Parked, 'boot' | 'seq'>;

export class ParkedStore {
  readonly #folder: string;
  readonly #max: number;
  #items: Parked[] = [];
  /**
   * What no birth has acknowledged, as far as this process knows, oldest first and no more than one birth can name.
   * Also of what has been parked and is out again: the network lists it until it is acknowledged.
   */
  readonly #unseen = new Map<string, ParkedId>();

  constructor(options: { readonly folder: string; readonly max: number }) {
    this.#folder = options.folder;
    this.#max = options.max;
  }

  async open(): Promise<void> {
    await makeFolder(this.#folder);
    for (const name of await readdir(this.#folder)) {
      const match = NAME.exec(name);
      if (match === null) continue;
      const { mtimeMs } = await stat(join(this.#folder, name));
      const boot = { counter: Number(match[1]), seed: Buffer.from(match[2]!, 'hex') };
      this.#items.push({ boot, seq: Number(match[3]), code: match[4]!, atMs: mtimeMs });
    }
    this.#items.sort((a, b) => a.atMs - b.atMs || a.seq - b.seq);
    for (const item of this.#items) this.#notSeen(item);
  }

  /** Durable when it resolves. */
  async park(item: Parked, bytes: Uint8Array): Promise<void> {
    if (this.#items.some((each) => keyOf(each) === keyOf(item))) return;
    await replaceFile(this.#path(item), bytes);
    this.#items.push(item);
    this.#notSeen(item);
    while (this.#items.length > this.#max) {
      const oldest = this.#items.shift()!;
      await rm(this.#path(oldest), { force: true });
    }
  }

  /** All of them, oldest first. */
  list(): readonly Parked[] {
    return this.#items;
  }

  /** What the next birth should acknowledge (docs/spec/messages.md section 1). */
  toAcknowledge(): readonly ParkedId[] {
    return [...this.#unseen.values()];
  }

  /** A receipt still lists this one, which is parked or was: the next birth acknowledges it again. */
  unacknowledged(boot: Boot, seq: number): void {
    this.#notSeen({ boot, seq });
  }

  /** A birth that acknowledges these is recorded. */
  acknowledged(items: readonly ParkedId[]): void {
    for (const item of items) this.#unseen.delete(keyOf(item));
  }

  #notSeen({ boot, seq }: ParkedId): void {
    if (this.#unseen.size < MAX_REJECTS_SEEN) this.#unseen.set(keyOf({ boot, seq }), { boot, seq });
  }

  #path(item: Parked): string {
    return join(this.#folder, `${keyOf(item)}.${item.code}.cose`);
  }
}

function keyOf({ boot, seq }: ParkedId): string {
  return `${bootKey(boot)}-${seq}`;
}
