/**
 * The rejected seqs of a boot that no birth has acknowledged, with their codes, in the order of the seqs: a receipt
 * takes the lowest without looking at the others. Adding at the end is O(1), elsewhere O(log n) to find and O(n) to
 * insert; how many there may be is the caller's business.
 */

export class RejectedSeqs {
  readonly #seqs: number[] = [];
  readonly #codes: string[] = [];

  constructor(items: Iterable<readonly [seq: number, code: string]> = []) {
    for (const [seq, code] of items) this.set(seq, code);
  }

  get size(): number {
    return this.#seqs.length;
  }

  has(seq: number): boolean {
    return this.get(seq) !== undefined;
  }

  /** The code; undefined when the seq is not in the list. */
  get(seq: number): string | undefined {
    const at = this.#firstFrom(seq);
    return this.#seqs[at] === seq ? this.#codes[at] : undefined;
  }

  /** Adds a seq, or gives it another code. */
  set(seq: number, code: string): void {
    const at = this.#firstFrom(seq);
    const isKnown = this.#seqs[at] === seq;
    this.#seqs.splice(at, isKnown ? 1 : 0, seq);
    this.#codes.splice(at, isKnown ? 1 : 0, code);
  }

  delete(seq: number): void {
    const at = this.#firstFrom(seq);
    if (this.#seqs[at] !== seq) return;
    this.#seqs.splice(at, 1);
    this.#codes.splice(at, 1);
  }

  /** The lowest `limit` of them. */
  lowest(limit: number): (readonly [seq: number, code: string])[] {
    return this.#seqs.slice(0, limit).map((seq, at) => [seq, this.#codes[at]!]);
  }

  /** The seq that so many others are below; undefined when there is none. */
  seqAt(position: number): number | undefined {
    return this.#seqs[position];
  }

  [Symbol.iterator](): Iterator<readonly [seq: number, code: string]> {
    return this.lowest(this.size)[Symbol.iterator]();
  }

  /** The position of the first seq that is not below the given one. */
  #firstFrom(seq: number): number {
    let low = 0;
    let high = this.#seqs.length;
    // Envelopes come in the order of their seqs, nearly always.
    if (high === 0 || this.#seqs[high - 1]! < seq) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#seqs[middle]! < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
