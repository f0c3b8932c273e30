/**
 * The boots of one device: which are open, and what a receipt says of them (settlement.md sections 2.1 and 3). Pure.
 *
 * A device may have any number of boots. The newest one, and the open ones with holes or with rejects that nobody has
 * acknowledged, are held as they are; all others rest as rows and are taken out again when something of them comes.
 */

import { BootRows, type StoredRows } from './boot-rows.ts';
import {
  Boot,
  type BootId,
  type BootReceipt,
  compareBoots,
  MAX_OPEN_BOOTS,
  MAX_REJECTED,
  MAX_REJECTED_IN_ALL,
  seedBytes,
} from './settlement.ts';

/** What a snapshot keeps of a device's boots. */
export interface StoredBoots {
  /** Those held as they are; where one also has a row, the row is outdated. */
  readonly live: readonly Boot[];
  readonly rows: StoredRows | null;
}

export class DeviceBoots {
  /** Ascending. */
  #live: Boot[];
  #rows: BootRows | null;
  #latest: Boot | undefined;

  constructor(stored: StoredBoots = { live: [], rows: null }) {
    this.#live = [...stored.live];
    this.#rows = stored.rows && new BootRows(stored.rows);
  }

  /** The boot, or undefined when nothing is known of it. Good until another boot is asked for, or while in flight. */
  find(counter: number, seed: number): Boot | undefined {
    const latest = this.#latest;
    // Nearly all questions are about the boot of the question before.
    if (latest !== undefined && latest.counter === counter && latest.seed === seed) return latest;
    const live = this.#findLive({ counter, seed });
    if (live !== undefined) {
      this.#latest = live;
      return live;
    }
    const row = this.#rows?.find({ counter, seed });
    return row === undefined ? undefined : this.#hold(this.#rows!.bootAt(row));
  }

  /** The boot, which is made when nothing is known of it. It counts as open once something of it is settled. */
  at(counter: number, seed: number): Boot {
    return this.find(counter, seed) ?? this.#hold(new Boot({ counter, seed }));
  }

  /** The device has given up these seqs. Of a boot that is closed nobody will ask. */
  drop(id: BootId, from: number, to: number): void {
    const lowest = this.#lowestOpen();
    if (lowest !== undefined && compareBoots(id, lowest) < 0) return;
    this.at(id.counter, id.seed).drop(from, to);
  }

  /** A birth has acknowledged the reject of this seq. */
  acknowledge(id: BootId, seq: number): void {
    // A boot at rest has none.
    this.#findLive(id)?.acknowledge(seq);
  }

  /** Rejects that no birth has acknowledged; those of boots that were closed are forgotten. */
  get unacknowledged(): number {
    return this.#live.reduce((count, { rejected }) => count + rejected.size, 0);
  }

  /** All boots of which something is settled, oldest counter first; read only. */
  all(): readonly Boot[] {
    return this.#newest(Number.POSITIVE_INFINITY).map((boot) => this.#bootOf(boot));
  }

  /** The newest {@link MAX_OPEN_BOOTS} of them; read only. Section 2.1. */
  open(): readonly Boot[] {
    return this.#newest(MAX_OPEN_BOOTS).map((boot) => this.#bootOf(boot));
  }

  /** What a receipt says of the open boots. Room for rejected seqs goes to the oldest first: they wait longest. */
  receipt(): readonly BootReceipt[] {
    let room = MAX_REJECTED_IN_ALL;
    return this.#newest(MAX_OPEN_BOOTS).map((boot) => {
      if (typeof boot === 'number') return this.#receiptOfRow(boot);
      const receipt = boot.receipt(Math.min(MAX_REJECTED, room));
      room -= receipt.rejected.length;
      return receipt;
    });
  }

  /** What a snapshot keeps; not to be changed. */
  stored(): StoredBoots {
    return {
      live: this.#live.filter((boot) => boot.settled.size > 0),
      rows: this.#rows?.stored() ?? null,
    };
  }

  #receiptOfRow(row: number): BootReceipt {
    const { counter, seed } = this.#rows!.idAt(row);
    return {
      bootCounter: counter,
      bootSeed: seedBytes(seed),
      settledThrough: this.#rows!.settledThroughAt(row),
      ranges: [],
      rejected: [],
    };
  }

  /** The newest boots of which something is settled, ascending: those that are held, and the rows of the others. */
  #newest(limit: number): (Boot | number)[] {
    const newest: (Boot | number)[] = [];
    let live = this.#live.length - 1;
    let row = (this.#rows?.length ?? 0) - 1;
    while (newest.length < limit && (live >= 0 || row >= 0)) {
      const boot = this.#live[live];
      const order =
        boot === undefined ? -1 : row < 0 ? 1 : compareBoots(boot, this.#rows!.idAt(row));
      if (order < 0) {
        newest.push(row);
      } else {
        if (boot!.settled.size > 0) newest.push(boot!);
        live -= 1;
      }
      if (order <= 0) row -= 1;
    }
    return newest.reverse();
  }

  #bootOf(boot: Boot | number): Boot {
    return typeof boot === 'number' ? this.#rows!.bootAt(boot) : boot;
  }

  /** The oldest boot that is open; undefined while there is room for more. */
  #lowestOpen(): BootId | undefined {
    const open = this.#newest(MAX_OPEN_BOOTS);
    if (open.length < MAX_OPEN_BOOTS) return undefined;
    const lowest = open[0]!;
    return typeof lowest === 'number' ? this.#rows!.idAt(lowest) : lowest;
  }

  #findLive(id: BootId): Boot | undefined {
    for (let at = this.#live.length - 1; at >= 0; at -= 1) {
      const order = compareBoots(this.#live[at]!, id);
      if (order === 0) return this.#live[at];
      if (order < 0) return undefined;
    }
    return undefined;
  }

  #hold(boot: Boot): Boot {
    let at = this.#live.length;
    while (at > 0 && compareBoots(this.#live[at - 1]!, boot) > 0) at -= 1;
    this.#live.splice(at, 0, boot);
    this.#latest = boot;
    if (this.#live.length > 1) this.#putToRest();
    return boot;
  }

  /** Turns into rows what need not be held, and forgets closed boots of which nothing is recorded. */
  #putToRest(): void {
    const lowest = this.#lowestOpen();
    const newest = this.#live[this.#live.length - 1];
    this.#live = this.#live.filter((boot) => {
      if (boot === this.#latest || boot === newest || boot.inFlight > 0) return true;
      if (boot.settled.size === 0) return false;
      const isClosed = lowest !== undefined && compareBoots(boot, lowest) < 0;
      if (!isClosed && !boot.isAtRest) return true;
      this.#rows ??= new BootRows();
      this.#rows.set(boot);
      return false;
    });
    const rows = this.#rows;
    if (rows !== null && lowest !== undefined && rows.emptyCount > 2 * MAX_OPEN_BOOTS) {
      rows.removeEmptyBelow(lowest);
    }
  }
}
