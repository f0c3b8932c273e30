/**
 * A set of whole numbers kept as sorted, disjoint, non-touching intervals: which seqs of a boot are settled.
 *
 * Memory grows with the number of holes, not of members. Adding at the end is O(1), elsewhere O(log n) to find
 * and O(n) to insert.
 */

import { ProtocolError } from './errors.ts';

/** Both ends included. */
export type Interval = readonly [from: number, to: number];

/** Members are safe integers from 0 on. */
export class IntervalSet {
  readonly #from: number[] = [];
  readonly #to: number[] = [];
  #size = 0;

  /**
   * A set of the given intervals, in any order, overlapping or not.
   *
   * @throws {ProtocolError} ERR_ARGUMENT for ends that are no safe integers or in the wrong order.
   */
  static from(intervals: Iterable<Interval>): IntervalSet {
    const set = new IntervalSet();
    for (const [from, to] of intervals) set.addRange(from, to);
    return set;
  }

  /** How many numbers are in the set. Exact up to 2^53. */
  get size(): number {
    return this.#size;
  }

  /** How many intervals it takes to write the set down. */
  get intervalCount(): number {
    return this.#from.length;
  }

  /** The greatest member, or -1. */
  get max(): number {
    return this.#to[this.#to.length - 1] ?? -1;
  }

  /**
   * Adds one number.
   *
   * @returns whether it was new.
   * @throws {ProtocolError} ERR_ARGUMENT unless it is a safe integer from 0 on.
   */
  add(seq: number): boolean {
    checkMember('seq', seq);
    const last = this.#to.length - 1;
    const max = this.max;
    if (seq === max + 1 && last >= 0) {
      this.#to[last] = seq;
      this.#size += 1;
      return true;
    }
    if (seq > max) {
      this.#from.push(seq);
      this.#to.push(seq);
      this.#size += 1;
      return true;
    }
    if (this.has(seq)) return false;
    this.addRange(seq, seq);
    return true;
  }

  /**
   * Adds every number from `from` to `to`, both included.
   *
   * @throws {ProtocolError} ERR_ARGUMENT for ends that are no safe integers or in the wrong order.
   */
  addRange(from: number, to: number): void {
    checkMember('from', from);
    checkMember('to', to);
    if (from > to) {
      throw new ProtocolError('ERR_ARGUMENT', `to: expected at least ${from}, got ${to}`);
    }
    // The intervals first … last overlap or touch the new one and melt into it.
    const first = this.#firstEndingAt(from - 1);
    let last = first;
    let size = to - from + 1;
    let start = from;
    let end = to;
    while (last < this.#from.length && this.#from[last]! <= to + 1) {
      start = Math.min(start, this.#from[last]!);
      end = Math.max(end, this.#to[last]!);
      size = end - start + 1;
      this.#size -= this.#to[last]! - this.#from[last]! + 1;
      last += 1;
    }
    this.#from.splice(first, last - first, start);
    this.#to.splice(first, last - first, end);
    this.#size += size;
  }

  has(seq: number): boolean {
    const at = this.#firstEndingAt(seq);
    return at < this.#from.length && this.#from[at]! <= seq;
  }

  /** Whether every number from `from` to `to` is in the set. */
  hasRange(from: number, to: number): boolean {
    const at = this.#firstEndingAt(from);
    return at < this.#from.length && this.#from[at]! <= from && this.#to[at]! >= to;
  }

  /** The greatest n such that all of `start` … n are in the set; `start - 1` when `start` is not. */
  contiguousThrough(start = 0): number {
    const at = this.#firstEndingAt(start);
    return at < this.#from.length && this.#from[at]! <= start ? this.#to[at]! : start - 1;
  }

  /**
   * What is missing between two numbers, ascending.
   *
   * @param to - default the greatest member, so that all holes below it are given.
   */
  holes(from = 0, to = this.max): Interval[] {
    const holes: Interval[] = [];
    let next = from;
    for (let at = this.#firstEndingAt(from); next <= to; at += 1) {
      const start = this.#from[at];
      if (start === undefined || start > to) {
        holes.push([next, to]);
        break;
      }
      if (start > next) holes.push([next, start - 1]);
      next = this.#to[at]! + 1;
    }
    return holes;
  }

  /** The members above a number as intervals, ascending, at most `limit` of them. */
  rangesAbove(seq: number, limit = Number.POSITIVE_INFINITY): Interval[] {
    const ranges: Interval[] = [];
    for (let at = this.#firstEndingAt(seq + 1); at < this.#from.length; at += 1) {
      if (ranges.length >= limit) break;
      ranges.push([Math.max(this.#from[at]!, seq + 1), this.#to[at]!]);
    }
    return ranges;
  }

  /** All intervals, ascending. */
  ranges(): Interval[] {
    return this.#from.map((from, at) => [from, this.#to[at]!]);
  }

  /** The position of the first interval whose end is `seq` or greater. */
  #firstEndingAt(seq: number): number {
    let low = 0;
    let high = this.#to.length;
    // Most questions are about the newest numbers.
    if (high === 0 || this.#to[high - 1]! < seq) return high;
    if (high === 1 || this.#to[high - 2]! < seq) return high - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#to[middle]! < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function checkMember(name: string, value: number): void {
  if (Number.isSafeInteger(value) && value >= 0) return;
  throw new ProtocolError(
    'ERR_ARGUMENT',
    `${name}: expected a safe integer from 0 on, got ${value}`,
  );
}
