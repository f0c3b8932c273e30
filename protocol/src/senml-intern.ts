/**
 * A small table from bytes to what was once made of them, so that the names and units of a fleet are decoded once
 * and not per message. One entry per slot, newest wins: the size is fixed, whatever senders do.
 */

const SLOTS = 1024;

export class Interned<T> {
  private readonly keys: (Uint8Array | undefined)[] = new Array(SLOTS).fill(undefined);
  private readonly values: (T | undefined)[] = new Array(SLOTS).fill(undefined);
  private slot = 0;

  /** What was put for the same bytes, or undefined; then `put` stores for the bytes asked for last. */
  get(bytes: Uint8Array, start: number, end: number): T | undefined {
    // FNV-1a
    let hash = 0x811c9dc5;
    for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
    const slot = (hash ^ (hash >>> 15)) & (SLOTS - 1);
    this.slot = slot;
    const key = this.keys[slot];
    if (key === undefined || key.length !== end - start) return undefined;
    for (let i = 0; i < key.length; i++) if (key[i] !== bytes[start + i]) return undefined;
    return this.values[slot];
  }

  put(bytes: Uint8Array, start: number, ...[end, value]: [number, T]): T {
    this.keys[this.slot] = bytes.slice(start, end);
    this.values[this.slot] = value;
    return value;
  }
}
