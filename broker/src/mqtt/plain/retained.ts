/** Retained messages, one a topic, bounded in number and bytes. MQTT 3.1.1 section 3.3.1.3. */

import type { Message } from './packets.ts';
import { NameTree, treeCost } from './topic-tree.ts';

export interface RetainedLimits {
  readonly plainMaxRetained: number;
  readonly plainMaxRetainedBytes: number;
}

interface Kept {
  readonly message: Message;
  /** What it counts; 0 for the broker's own messages, of which there are as many as devices. */
  readonly bytes: number;
}

/** What a message costs beside topic and payload. */
const MESSAGE_COST_BYTES = 256;

export class Retained {
  private readonly limits: RetainedLimits;
  private readonly tree = new NameTree<Kept>();
  private messages = 0;
  private total = 0;

  constructor(limits: RetainedLimits) {
    this.limits = limits;
  }

  /** Messages of clients. */
  get count(): number {
    return this.messages;
  }

  get bytes(): number {
    return this.total;
  }

  /**
   * Keeps a message as the last of its topic; one without payload removes what is there. [MQTT-3.3.1-5], [MQTT-3.3.1-10]
   *
   * @param isOwn - a message of the broker itself, which the limits do not concern.
   * @returns false when there is no room; then the topic has none any more, since the last one is out of date.
   */
  keep(message: Message, isOwn: boolean): boolean {
    const { topic, payload } = message;
    this.remove(topic);
    if (payload.length === 0) return true;
    if (isOwn) {
      this.tree.set(topic, { message, bytes: 0 });
      return true;
    }
    const bytes = MESSAGE_COST_BYTES + treeCost(topic) + payload.length;
    const { plainMaxRetained, plainMaxRetainedBytes } = this.limits;
    if (this.messages >= plainMaxRetained || this.total + bytes > plainMaxRetainedBytes) {
      return false;
    }
    this.tree.set(topic, { message, bytes });
    this.messages += 1;
    this.total += bytes;
    return true;
  }

  match(filter: string): readonly Message[] {
    return this.tree.match(filter).map(({ message }) => message);
  }

  private remove(topic: string): void {
    const kept = this.tree.get(topic);
    if (kept === undefined) return;
    this.tree.delete(topic);
    if (kept.bytes === 0) return;
    this.messages -= 1;
    this.total -= kept.bytes;
  }
}
