/**
 * Envelopes that the network refused for good: kept for the owner to look at, the oldest out when there are
 * too many. One file each, `<boot>-<seed>-<seq>.<code>.cose`, so that any COSE tool can open it.
 */

import { join } from 'node:path';
import { MAX_REJECTS_SEEN } from '@fieldproof/protocol/messages';
import { type Boot, bootKey } from './boot.ts';
import { type Disk, systemDisk } from './disk.ts';
import { removeLeftovers, replaceFile } from './durable-file.ts';

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
  readonly #disk: Disk;
  #items: Parked[] = [];
  /**
   * What no birth has acknowledged, as far as this process knows, oldest first and no more than one birth can name.
   * Also of what has been parked and is out again: the network lists it until it is acknowledged.
   */
  readonly #unseen = new Map<string, ParkedId>();

  constructor(options: { readonly folder: string; readonly max: number; readonly disk?: Disk }) {
    this.#folder = options.folder;
    this.#max = options.max;
    this.#disk = options.disk ?? systemDisk;
  }

  async open(): Promise<void> {
    await this.#disk.makeFolder(this.#folder);
    await removeLeftovers(this.#folder, this.#disk);
    for (const name of await this.#disk.readdir(this.#folder)) {
      const match = NAME.exec(name);
      if (match === null) continue;
      const { mtimeMs } = await this.#disk.stat(join(this.#folder, name));
      const boot = { counter: Number(match[1]), seed: Buffer.from(match[2]!, 'hex') };
      this.#items.push({ boot, seq: Number(match[3]), code: match[4]!, atMs: mtimeMs });
    }
    this.#items.sort(byAge);
    await this.#trim();
    for (const item of this.#items) this.#notSeen(item);
  }

  /** The highest boot counter in here, 0 when empty. */
  get highestBootCounter(): number {
    return this.#items.reduce((high, { boot }) => Math.max(high, boot.counter), 0);
  }

  /** Durable when it resolves. */
  async park(item: Parked, bytes: Uint8Array): Promise<void> {
    if (this.#items.some((each) => keyOf(each) === keyOf(item))) return;
    await replaceFile(this.#path(item), bytes, { disk: this.#disk });
    this.#items.push(item);
    this.#items.sort(byAge);
    this.#notSeen(item);
    await this.#trim();
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

  /** What cannot be removed now is tried again with the next. */
  async #trim(): Promise<void> {
    while (this.#items.length > this.#max) {
      await this.#disk.remove(this.#path(this.#items[0]!));
      this.#items.shift();
    }
  }

  #notSeen({ boot, seq }: ParkedId): void {
    if (this.#unseen.size < MAX_REJECTS_SEEN) this.#unseen.set(keyOf({ boot, seq }), { boot, seq });
  }

  #path(item: Parked): string {
    return join(this.#folder, `${keyOf(item)}.${item.code}.cose`);
  }
}

/** By boot and seq: the time of a file is that of a clock that may be wrong. */
function byAge(a: ParkedId, b: ParkedId): number {
  return a.boot.counter - b.boot.counter || a.seq - b.seq;
}

function keyOf({ boot, seq }: ParkedId): string {
  return `${bootKey(boot)}-${seq}`;
}
