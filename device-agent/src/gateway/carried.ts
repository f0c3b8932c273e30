/**
 * What of its leaves waits in a gateway's outbox: how much of each, and which, so that what a leaf sends again is kept once.
 * What the network has settled is found out lazily.
 */

import type { Boot } from '../boot.ts';

/** Where a leaf's envelope lies: the seq of the gateway's own around it. */
export interface CarriedPlace {
  readonly boot: Boot;
  readonly seq: number;
  readonly bytes: number;
}

interface OfLeaf {
  bytes: number;
  readonly places: Map<string, CarriedPlace>;
}

export class Carried {
  readonly #isPending: (boot: Boot, seq: number) => boolean;
  readonly #leaves = new Map<string, OfLeaf>();
  #bytes = 0;

  constructor(isPending: (boot: Boot, seq: number) => boolean) {
    this.#isPending = isPending;
  }

  /** Of all leaves. */
  get bytes(): number {
    return this.#bytes;
  }

  /** @param name - of an envelope of the leaf, by its bytes. */
  add(leaf: string, name: string, place: CarriedPlace): void {
    const of = this.#leaves.get(leaf) ?? { bytes: 0, places: new Map() };
    this.#leaves.set(leaf, of);
    of.places.set(name, place);
    of.bytes += place.bytes;
    this.#bytes += place.bytes;
  }

  has(leaf: string, name: string): boolean {
    const of = this.#leaves.get(leaf);
    const place = of?.places.get(name);
    if (of === undefined || place === undefined) return false;
    if (this.#isPending(place.boot, place.seq)) return true;
    this.#remove(of, name, place);
    return false;
  }

  of(leaf: string): { readonly waiting: number; readonly bytes: number } {
    const of = this.#leaves.get(leaf);
    return { waiting: of?.places.size ?? 0, bytes: of?.bytes ?? 0 };
  }

  /** Where the envelopes of a leaf lie. */
  places(leaf: string): readonly CarriedPlace[] {
    return [...(this.#leaves.get(leaf)?.places.values() ?? [])];
  }

  /** Whose the envelope in one of the gateway's own is. Asked rarely: it looks through all. */
  leafAt({ counter }: Boot, seq: number): string | undefined {
    for (const [leaf, { places }] of this.#leaves) {
      for (const place of places.values()) {
        if (place.seq === seq && place.boot.counter === counter) return leaf;
      }
    }
    return undefined;
  }

  /** Leaves out what waits no more. */
  prune(): void {
    for (const of of this.#leaves.values()) {
      for (const [name, place] of of.places) {
        if (!this.#isPending(place.boot, place.seq)) this.#remove(of, name, place);
      }
    }
  }

  #remove(of: OfLeaf, name: string, place: CarriedPlace): void {
    of.places.delete(name);
    of.bytes -= place.bytes;
    this.#bytes -= place.bytes;
  }
}
