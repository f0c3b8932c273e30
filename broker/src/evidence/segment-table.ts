/**
 * Where each frame of the open segment begins, and which envelope digests are in it; and the sidecar file
 * `<first>.idx` into which both are put when the segment is closed (evidence-log.md section 2.5). A sidecar can
 * always be made again from its segment.
 */

import { crc32c } from '@fieldproof/protocol/crc32c';

const DIGEST_BYTES = 32;
const MAGIC = new TextEncoder().encode('fieldproof-idx-1');
/** magic, crc32c u32, first u64, count u32, digest count u32. */
const HEADER_BYTES = 36;

/** What reading needs to know of a segment, open or closed. */
export interface SegmentIndex {
  readonly first: number;
  /** Frames. */
  readonly count: number;
  /** Where the `ordinal`-th frame begins. */
  readonly offsetAt: (ordinal: number) => number;
  /** Ordinals of the frames that may be of the envelope with that digest; read them to know. */
  readonly candidates: (digest: Uint8Array) => readonly number[];
}

/** The table of the open segment, in memory. About 50 bytes a frame. */
export class SegmentTable implements SegmentIndex {
  readonly first: number;
  #count = 0;
  #digestCount = 0;
  #offsets = new Float64Array(1024);
  #digests = new Uint8Array(1024 * DIGEST_BYTES);
  /** Ordinals of the digests, in the order of `#digests`. */
  #ordinals = new Uint32Array(1024);
  /** Open addressing: 0 is free, n stands for the n-th digest. */
  #slots = new Uint32Array(4096);

  constructor(first: number) {
    this.first = first;
  }

  get count(): number {
    return this.#count;
  }

  /** Adds the next frame; `digest` is that of its envelope, if it has one. */
  add(offset: number, digest: Uint8Array | null): void {
    if (this.#count === this.#offsets.length) {
      const wider = new Float64Array(this.#count * 2);
      wider.set(this.#offsets);
      this.#offsets = wider;
    }
    this.#offsets[this.#count] = offset;
    if (digest !== null) this.#addDigest(digest, this.#count);
    this.#count += 1;
  }

  offsetAt(ordinal: number): number {
    return this.#offsets[ordinal]!;
  }

  candidates(digest: Uint8Array): readonly number[] {
    const at = this.#find(digest);
    return at < 0 ? [] : [this.#ordinals[at]!];
  }

  /** The bytes of the sidecar file. */
  encode(): Uint8Array {
    const count = this.#count;
    const digestCount = this.#digestCount;
    const bytes = new Uint8Array(HEADER_BYTES + 4 * count + 8 * digestCount);
    const view = new DataView(bytes.buffer);
    bytes.set(MAGIC);
    view.setBigUint64(20, BigInt(this.first));
    view.setUint32(28, count);
    view.setUint32(32, digestCount);
    for (let i = 0; i < count; i += 1) view.setUint32(HEADER_BYTES + 4 * i, this.#offsets[i]!);
    // Prefix and place in one double, so that the native sort does it.
    const sorted = new Float64Array(digestCount);
    for (let i = 0; i < digestCount; i += 1) {
      sorted[i] = prefixOf(this.#digests, i * DIGEST_BYTES) * 2 ** 20 + i;
    }
    sorted.sort();
    let at = HEADER_BYTES + 4 * count;
    for (const key of sorted) {
      const i = key % 2 ** 20;
      view.setUint32(at, prefixOf(this.#digests, i * DIGEST_BYTES));
      view.setUint32(at + 4 * digestCount, this.#ordinals[i]!);
      at += 4;
    }
    view.setUint32(16, crc32c(bytes, 20));
    return bytes;
  }

  #addDigest(digest: Uint8Array, ordinal: number): void {
    const place = this.#digestCount;
    if (place === this.#ordinals.length) this.#grow();
    this.#digests.set(digest, place * DIGEST_BYTES);
    this.#ordinals[place] = ordinal;
    this.#digestCount = place + 1;
    this.#occupy(place);
  }

  #occupy(place: number): void {
    const mask = this.#slots.length - 1;
    let slot = prefixOf(this.#digests, place * DIGEST_BYTES) & mask;
    while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
    this.#slots[slot] = place + 1;
  }

  #find(digest: Uint8Array): number {
    const mask = this.#slots.length - 1;
    for (let slot = prefixOf(digest, 0) & mask; this.#slots[slot] !== 0; slot = (slot + 1) & mask) {
      const place = this.#slots[slot]! - 1;
      const at = place * DIGEST_BYTES;
      let same = 0;
      while (same < DIGEST_BYTES && this.#digests[at + same] === digest[same]) same += 1;
      if (same === DIGEST_BYTES) return place;
    }
    return -1;
  }

  #grow(): void {
    const ordinals = new Uint32Array(this.#ordinals.length * 2);
    ordinals.set(this.#ordinals);
    this.#ordinals = ordinals;
    const digests = new Uint8Array(this.#digests.length * 2);
    digests.set(this.#digests);
    this.#digests = digests;
    this.#slots = new Uint32Array(this.#slots.length * 2);
    for (let place = 0; place < this.#digestCount; place += 1) this.#occupy(place);
  }
}

/** The index in a sidecar file, or undefined when the bytes are not one of the segment at `first`. */
export function decodeSidecar(bytes: Uint8Array, first: number): SegmentIndex | undefined {
  if (bytes.length < HEADER_BYTES || MAGIC.some((byte, i) => bytes[i] !== byte)) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const count = view.getUint32(28);
  const digestCount = view.getUint32(32);
  if (bytes.length !== HEADER_BYTES + 4 * count + 8 * digestCount) return undefined;
  if (view.getUint32(16) !== crc32c(bytes, 20)) return undefined;
  if (view.getBigUint64(20) !== BigInt(first)) return undefined;

  const prefixes = HEADER_BYTES + 4 * count;
  const ordinals = prefixes + 4 * digestCount;
  return {
    first,
    count,
    offsetAt: (ordinal) => view.getUint32(HEADER_BYTES + 4 * ordinal),
    candidates: (digest) => {
      const wanted = prefixOf(digest, 0);
      let low = 0;
      let high = digestCount;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if (view.getUint32(prefixes + 4 * middle) < wanted) low = middle + 1;
        else high = middle;
      }
      const found: number[] = [];
      for (; low < digestCount && view.getUint32(prefixes + 4 * low) === wanted; low += 1) {
        found.push(view.getUint32(ordinals + 4 * low));
      }
      return found;
    },
  };
}

/** The first four bytes of a digest as a number. */
function prefixOf(digests: Uint8Array, at: number): number {
  return (
    ((digests[at]! << 24) |
      (digests[at + 1]! << 16) |
      (digests[at + 2]! << 8) |
      digests[at + 3]!) >>>
    0
  );
}
