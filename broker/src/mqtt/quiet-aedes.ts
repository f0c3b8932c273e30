/** Aedes without the distribution of what goes nowhere, which costs more than all else that it does for a PUBLISH. */

import { Aedes, type Client, type PublishPacket } from 'aedes';
import { NOWHERE } from './hooks/authorize-publish.ts';

type Published = (error?: Error) => void;
/** What Aedes' handlers call; its types know the form without a client only. */
type Publish = (packet: PublishPacket, client: Client | null | Published, done?: Published) => void;

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
}
