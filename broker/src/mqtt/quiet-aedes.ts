/**
 * Aedes without distribution: what goes nowhere is not handed to the emitter, which costs more than all else that
 * Aedes does for a PUBLISH, and what devices subscribe to is not kept there, which costs memory for each. Down messages go
 * straight to their client, and `state` is retained: it comes with the subscription.
 */

import { Aedes, type Client, type PublishPacket } from 'aedes';
import { NOWHERE } from './hooks/authorize-publish.ts';

type Published = (error?: Error) => void;
/** What Aedes' handlers call; its types know the form without a client only. */
type Publish = (packet: PublishPacket, client: Client | null | Published, done?: Published) => void;

type Deliver = Parameters<Aedes['subscribe']>[1];

export class QuietAedes extends Aedes {
  override publish(
    packet: PublishPacket,
    client: Client | null | Published,
    done?: Published,
  ): void {
    const callback = typeof client === 'function' ? client : done;
    if (packet.topic === NOWHERE) callback?.();
    else (super.publish as Publish).call(this, packet, client, done);
  }

  override subscribe(topic: string, deliver: Deliver, done: () => void): void {
    if (isOurs(topic)) done();
    else super.subscribe(topic, deliver, done);
  }

  override unsubscribe(topic: string, deliver: Deliver, done: () => void): void {
    if (isOurs(topic)) done();
    else super.unsubscribe(topic, deliver, done);
  }
}

/** The others are those by which Aedes talks to itself. */
function isOurs(topic: string): boolean {
  return topic.startsWith('fp/');
}
