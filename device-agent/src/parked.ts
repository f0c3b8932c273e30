/**
 * Envelopes that the network refused for good: kept for the owner to look at, the oldest out when there are
 * too many. One file each, `<boot>-<seed>-<seq>.<code>.cose`, so that any COSE tool can open it.
 */

import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Boot, bootKey } from './boot.ts';
import { makeFolder, replaceFile } from './durable-file.ts';

const NAME = /^(\d+)-([0-9a-f]{8})-(\d+)\.(ERR_[A-Z0-9_]+)\.cose$/;

export interface Parked {
  readonly boot: Boot;
  readonly seq: number;
  readonly code: string;
  readonly atMs: number;
}

export class ParkedStore {
  readonly #folder: string;
  readonly #max: number;
  #items: Parked[] = [];
  /** What no birth has acknowledged, as far as this process knows. */
  readonly #unseen = new Set<string>();

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
    for (const item of this.#items) this.#unseen.add(keyOf(item));
  }

  /** Durable when it resolves. */
  async park(item: Parked, bytes: Uint8Array): Promise<void> {
    if (this.#items.some((each) => keyOf(each) === keyOf(item))) return;
    await replaceFile(this.#path(item), bytes);
    this.#items.push(item);
    this.#unseen.add(keyOf(item));
    while (this.#items.length > this.#max) {
      const oldest = this.#items.shift()!;
      this.#unseen.delete(keyOf(oldest));
      await rm(this.#path(oldest), { force: true });
    }
  }

  /** All of them, oldest first. */
  list(): readonly Parked[] {
    return this.#items;
  }

  /** What the next birth should acknowledge (docs/spec/messages.md section 1), newest `max`. */
  toAcknowledge(max: number): readonly Parked[] {
    return this.#items.filter((item) => this.#unseen.has(keyOf(item))).slice(-max);
  }

  /** A receipt still lists it: the next birth acknowledges it again. */
  unacknowledged(boot: Boot, seq: number): void {
    const key = keyOf({ boot, seq });
    if (this.#items.some((item) => keyOf(item) === key)) this.#unseen.add(key);
  }

  /** A birth that acknowledges these is recorded. */
  acknowledged(items: readonly Parked[]): void {
    for (const item of items) this.#unseen.delete(keyOf(item));
  }

  #path(item: Parked): string {
    return join(this.#folder, `${keyOf(item)}.${item.code}.cose`);
  }
}

function keyOf({ boot, seq }: Pick<Parked, 'boot' | 'seq'>): string {
  return `${bootKey(boot)}-${seq}`;
}
