/**
 * Boots that have come to rest, 32 bytes each: the row of a boot of which everything from seq 0 to `through` is
 * recorded. A boot that needs more (seqs that were dropped or rejected, holes of a closed boot) has a list beside.
 *
 * A row holds all that can still be asked of such a boot: what is recorded, between which entries, and how far it is
 * settled. Rows are in the order of counter and seed.
 */

import type { Interval } from '@fieldproof/protocol/interval-set';
import { Boot, type BootId, compareBoots } from './settlement.ts';

/**
 * `counter u32 | seed u32 | firstIndex f64 | lastIndex f64 | through f64`, little-endian. `through` is -2 - settledThrough,
 * which is below zero, when the boot has a list.
 */
const ROW_BYTES = 32;
const FIRST_ROWS = 4;

/** `[from, to, from, to, …]`: what is recorded. */
type List = readonly number[];

/** What a snapshot keeps of the rows. */
export interface StoredRows {
  readonly rows: Uint8Array;
  readonly lists: readonly (readonly [counter: number, seed: number, list: List])[];
}

export class BootRows {
  #bytes: Uint8Array;
  #view: DataView;
  #length: number;
  readonly #lists = new Map<string, List>();
  #emptyCount = 0;

  constructor(stored: StoredRows = { rows: new Uint8Array(0), lists: [] }) {
    this.#bytes = stored.rows.slice();
    this.#view = new DataView(this.#bytes.buffer);
    this.#length = this.#bytes.length / ROW_BYTES;
    for (const [counter, seed, list] of stored.lists) {
      this.#lists.set(nameOf({ counter, seed }), list);
      if (isEmpty(list)) this.#emptyCount += 1;
    }
  }

  get length(): number {
    return this.#length;
  }

  /** Rows of boots of which nothing is recorded. */
  get emptyCount(): number {
    return this.#emptyCount;
  }

  /** What a snapshot keeps; the bytes are not to be written to. */
  stored(): StoredRows {
    const rows = this.#bytes.subarray(0, this.#length * ROW_BYTES);
    const lists = [...this.#lists].map(([name, list]) => {
      const [counter, seed] = name.split('.').map(Number) as [number, number];
      return [counter, seed, list] as const;
    });
    return { rows, lists };
  }

  /** Which boot a row is of. */
  idAt(row: number): BootId {
    const at = row * ROW_BYTES;
    return { counter: this.#view.getUint32(at, true), seed: this.#view.getUint32(at + 4, true) };
  }

  /** The row of a boot; undefined when it has none. */
  find(id: BootId): number | undefined {
    const row = this.#firstFrom(id);
    return row < this.#length && compareBoots(this.idAt(row), id) === 0 ? row : undefined;
  }

  /** How far the boot of a row is settled from seq 0 on. */
  settledThroughAt(row: number): number {
    const through = this.#throughAt(row);
    return through < 0 ? -2 - through : through;
  }

  /** The boot of a row, as one that can be changed; the row stays what it is. */
  bootAt(row: number): Boot {
    const at = row * ROW_BYTES;
    const settledThrough = this.settledThroughAt(row);
    const flat = this.#throughAt(row) < 0 ? this.#listAt(row) : [0, settledThrough];
    const recorded: Interval[] = [];
    for (let i = 0; i < flat.length; i += 2) recorded.push([flat[i]!, flat[i + 1]!]);
    const settled: Interval[] = [...recorded];
    if (settledThrough >= 0) settled.push([0, settledThrough]);
    const boot = new Boot(this.idAt(row), { recorded, settled });
    boot.firstIndex = this.#view.getFloat64(at + 8, true);
    boot.lastIndex = this.#view.getFloat64(at + 16, true);
    return boot;
  }

  /** Keeps a boot as a row. Rejected seqs, and what is settled behind the first hole, are not kept. */
  set(boot: Boot): void {
    let row = this.#firstFrom(boot);
    const isKnown = row < this.#length && compareBoots(this.idAt(row), boot) === 0;
    if (isKnown) this.#forgetList(boot);
    else row = this.#insert(row, boot);
    const at = row * ROW_BYTES;
    const settledThrough = boot.settled.contiguousThrough();
    const isPlain = boot.recorded.hasRange(0, settledThrough) && boot.recorded.intervalCount === 1;
    this.#view.setFloat64(at + 8, boot.firstIndex, true);
    this.#view.setFloat64(at + 16, boot.lastIndex, true);
    this.#view.setFloat64(at + 24, isPlain ? settledThrough : -2 - settledThrough, true);
    if (isPlain) return;
    const list = boot.recorded.ranges().flat();
    this.#lists.set(nameOf(boot), list);
    if (isEmpty(list)) this.#emptyCount += 1;
  }

  /** Forgets the boots below one of which nothing is recorded. */
  removeEmptyBelow(id: BootId): void {
    const end = this.#firstFrom(id);
    let kept = 0;
    for (let row = 0; row < this.#length; row += 1) {
      if (row < end && this.#isEmptyAt(row)) {
        this.#forgetList(this.idAt(row));
        continue;
      }
      if (kept < row) {
        this.#bytes.copyWithin(kept * ROW_BYTES, row * ROW_BYTES, (row + 1) * ROW_BYTES);
      }
      kept += 1;
    }
    this.#length = kept;
  }

  #isEmptyAt(row: number): boolean {
    return this.#throughAt(row) < 0 && isEmpty(this.#listAt(row));
  }

  #throughAt(row: number): number {
    return this.#view.getFloat64(row * ROW_BYTES + 24, true);
  }

  #listAt(row: number): List {
    return this.#lists.get(nameOf(this.idAt(row)))!;
  }

  #forgetList(id: BootId): void {
    const name = nameOf(id);
    const list = this.#lists.get(name);
    if (list === undefined) return;
    if (isEmpty(list)) this.#emptyCount -= 1;
    this.#lists.delete(name);
  }

  #insert(row: number, { counter, seed }: BootId): number {
    const used = this.#length * ROW_BYTES;
    if (used + ROW_BYTES > this.#bytes.length) {
      const rows = Math.max(FIRST_ROWS, Math.ceil(this.#length * 1.25));
      const bytes = new Uint8Array(rows * ROW_BYTES);
      bytes.set(this.#bytes.subarray(0, used));
      this.#bytes = bytes;
      this.#view = new DataView(bytes.buffer);
    }
    const at = row * ROW_BYTES;
    this.#bytes.copyWithin(at + ROW_BYTES, at, used);
    this.#view.setUint32(at, counter, true);
    this.#view.setUint32(at + 4, seed, true);
    this.#length += 1;
    return row;
  }

  /** The first row whose boot is not before the given one. */
  #firstFrom(id: BootId): number {
    let low = 0;
    let high = this.#length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareBoots(this.idAt(middle), id) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function isEmpty(list: List): boolean {
  return list.length === 0;
}

function nameOf({ counter, seed }: BootId): string {
  return `${counter}.${seed}`;
}
