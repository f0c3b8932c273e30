/**
 * The newest receipt as the log signed it, kept so that the owner can hold the operator to it later:
 * `state/receipt.cose`, a COSE_Sign1 that any tool can open (docs/spec/settlement.md 3).
 *
 * It is replaced every 15 minutes at most, for the sake of SD cards, and at the stop. A receipt that names an
 * older entry than the kept one, or another leaf at the same index, never replaces it: then the log went back,
 * or forked, and the kept one proves it.
 */

import { join } from 'node:path';
import type { Receipt } from '@fieldproof/protocol/settlement-messages';
import type { Clock } from './clock.ts';
import { type Disk, systemDisk } from './disk.ts';
import { readIfReadable, replaceFile } from './durable-file.ts';
import { reasonOf } from './errors.ts';
import type { Log } from './log.ts';

const SAVE_EVERY_MS = 15 * 60_000;

export interface KeptReceipt {
  readonly bytes: Uint8Array;
  readonly receipt: Receipt;
}

export interface ReceiptFileOptions {
  readonly folder: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly disk?: Disk;
}

export class ReceiptFile {
  readonly #options: ReceiptFileOptions;
  readonly #disk: Disk;
  #newest: KeptReceipt | undefined;
  #saved: KeptReceipt | undefined;
  #savedAtMs: number | undefined;
  #contradicted = false;
  #saving: Promise<void> = Promise.resolve();

  constructor(options: ReceiptFileOptions) {
    this.#options = options;
    this.#disk = options.disk ?? systemDisk;
  }

  /** The newest receipt, of this run or an earlier one. */
  get newest(): Receipt | undefined {
    return this.#newest?.receipt;
  }

  /** Whether the network has since signed something that contradicts the kept receipt. */
  get contradicted(): boolean {
    return this.#contradicted;
  }

  /**
   * Reads what earlier runs kept. One that no longer verifies, as after a change of the log's key, is put
   * aside as `receipt-old.cose`.
   *
   * @param verify - opens a receipt envelope; throws unless the log signed it for this device.
   */
  async open(verify: (bytes: Uint8Array) => Receipt): Promise<void> {
    const path = this.#path('receipt.cose');
    const { log } = this.#options;
    const bytes = await readIfReadable(path, { log, disk: this.#disk });
    if (bytes === undefined) return;
    try {
      this.#newest = { bytes, receipt: verify(bytes) };
      this.#saved = this.#newest;
    } catch (error) {
      log.warn('kept receipt put aside', { reason: reasonOf(error) });
      await this.#disk.rename(path, this.#path('receipt-old.cose'));
    }
  }

  /** Takes a verified receipt. Never rejects: a full disk costs the copy, not the receipt. */
  async keep(next: KeptReceipt): Promise<void> {
    const { clock, log } = this.#options;
    if (this.#newest !== undefined && contradicts(next.receipt, this.#newest.receipt)) {
      if (this.#contradicted) return;
      this.#contradicted = true;
      const [kept, got] = [this.#newest.receipt.entry[0], next.receipt.entry[0]];
      log.error('the log went back or forked; the earlier receipt is kept', { kept, got });
      await this.flush();
      await this.#save('receipt-contradiction.cose', next.bytes);
      return;
    }
    this.#newest = next;
    const nowMs = clock.monotonicMs();
    if (this.#savedAtMs === undefined || nowMs - this.#savedAtMs >= SAVE_EVERY_MS) {
      this.#savedAtMs = nowMs;
      await this.flush();
    }
  }

  /** Writes the newest one, if it is not written yet. Never rejects. */
  async flush(): Promise<void> {
    const newest = this.#newest;
    if (newest === undefined || newest === this.#saved) return;
    if (await this.#save('receipt.cose', newest.bytes)) this.#saved = newest;
  }

  #save(name: string, bytes: Uint8Array): Promise<boolean> {
    const written = this.#saving.then(() =>
      replaceFile(this.#path(name), bytes, { disk: this.#disk }),
    );
    this.#saving = written.catch(() => {});
    return written.then(
      () => true,
      (error: unknown) => {
        this.#options.log.warn('receipt not kept', { reason: reasonOf(error) });
        return false;
      },
    );
  }

  #path(name: string): string {
    return join(this.#options.folder, name);
  }
}

/** The entries of one log only grow, and an index has one leaf. */
function contradicts(next: Receipt, before: Receipt): boolean {
  const [index, leaf] = next.entry;
  const [indexBefore, leafBefore] = before.entry;
  if (index !== indexBefore) return index < indexBefore;
  return Buffer.compare(leaf, leafBefore) !== 0;
}
