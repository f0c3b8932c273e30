/** Messages that wait for a session, in their order: a queue whose head is taken in constant time. */

import type { Qos } from './packets.ts';
import type { Publication } from './publication.ts';

/** A message for one session. */
export interface Delivery {
  readonly publication: Publication;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly at: number;
  /** What it counts while it is kept. */
  readonly bytes: number;
}

/** So many that have left are kept before their places are given back. */
const SPARE = 1024;

export class DeliveryQueue {
  private items: Delivery[] = [];
  /** What comes before this has left. */
  private head = 0;

  get length(): number {
    return this.items.length - this.head;
  }

  get first(): Delivery | undefined {
    return this.items[this.head];
  }

  push(delivery: Delivery): void {
    this.items.push(delivery);
  }

  /** Takes the first away. */
  shift(): void {
    this.head += 1;
    if (this.head < this.items.length && this.head <= SPARE) return;
    this.items.splice(0, this.head);
    this.head = 0;
  }

  /** Takes away those that are not to be kept. @returns what was taken. */
  sift(isKept: (delivery: Delivery) => boolean): readonly Delivery[] {
    const taken: Delivery[] = [];
    const kept: Delivery[] = [];
    for (const delivery of this.items.slice(this.head)) {
      (isKept(delivery) ? kept : taken).push(delivery);
    }
    this.items = kept;
    this.head = 0;
    return taken;
  }
}
