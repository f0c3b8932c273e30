/** A cache of what was prepared for a key, bounded, without a list to move in. */

/**
 * Recently used values by 32-byte key, in two generations: what is used moves to the young one; when that has half of
 * the limit, the old one is dropped and it becomes the old one. So nothing moves while all keys fit into one
 * generation. Null values are not kept: anyone can make up bad keys.
 */
export class KeyCache<T> {
  private readonly limit: number;
  private young = new Map<string, T>();
  private old = new Map<string, T>();

  constructor(limit: number) {
    this.limit = limit;
  }

  /** The value of a key; made when it is not here. */
  get(bytes: Uint8Array, make: (bytes: Uint8Array) => T): T {
    const id = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
    const known = this.young.get(id);
    if (known !== undefined) return known;
    const made = this.old.get(id) ?? make(bytes);
    if (made === null) return made;
    if (this.young.size >= this.limit / 2) {
      this.old = this.young;
      this.young = new Map();
    }
    this.young.set(id, made);
    return made;
  }
}
