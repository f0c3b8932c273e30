/** A message on its way to its receivers: what is the same for many of them is encoded once. */

import { encodePublish, type Message, type Qos } from './packets.ts';

export class Publication {
  readonly message: Message;
  /** The PUBLISH of QoS 0 without RETAIN, which is the same for everybody. */
  private shared: Buffer | null = null;

  constructor(message: Message) {
    this.message = message;
  }

  /** @param delivery.id - for QoS 1 and 2. */
  encode(delivery: {
    readonly qos: Qos;
    readonly retain: boolean;
    readonly dup: boolean;
    readonly id: number;
  }): Buffer {
    if (delivery.qos > 0 || delivery.retain) return encodePublish(this.message, delivery);
    this.shared ??= encodePublish(this.message, delivery);
    return this.shared;
  }
}
