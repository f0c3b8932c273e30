/** What the packets of a client of the plain profile do, and how they are answered. MQTT 3.1.1 sections 3.3 to 3.14. */

import type { Distribution } from './distribution.ts';
import { type ClientPacket, encodeAck, encodeSuback, type Message, PINGRESP } from './packets.ts';
import type { PlainSession } from './session.ts';

export interface Conversation {
  readonly client: {
    write(bytes: Buffer): void;
    close(reason: null): void;
  };
  readonly session: PlainSession;
  readonly distribution: Distribution;
  /** Takes from the rate what the guard has not counted. */
  readonly spend: (packets: number) => void;
}

/** So many retained messages that a subscription brings take as much of the rate as one packet. */
const RETAINED_PER_PACKET = 10;

/** Deals with one packet of a client that is in. */
export function answer(packet: ClientPacket, conversation: Conversation): void {
  const { client, session, distribution, spend } = conversation;
  switch (packet.type) {
    case 'publish':
      spend(1);
      takePublish(packet.message, packet.id, conversation);
      return;
    case 'puback':
      session.acknowledge(packet.id);
      return;
    case 'pubrec':
      session.received(packet.id);
      return;
    case 'pubrel':
      session.incoming.delete(packet.id);
      client.write(encodeAck('pubcomp', packet.id));
      return;
    case 'pubcomp':
      session.complete(packet.id);
      return;
    case 'subscribe': {
      const brought = distribution.subscribe(session, packet.filters, (codes) =>
        client.write(encodeSuback(packet.id, codes)),
      );
      spend(brought / RETAINED_PER_PACKET);
      return;
    }
    case 'unsubscribe':
      distribution.unsubscribe(session, packet.filters);
      client.write(encodeAck('unsuback', packet.id));
      return;
    case 'pingreq':
      client.write(PINGRESP);
      return;
    case 'disconnect':
      client.close(null);
      return;
    case 'connect':
      // The desk has judged it.
      return;
  }
}

function takePublish(
  message: Message,
  id: number,
  { client, session, distribution }: Conversation,
): void {
  if (message.qos === 2) {
    // [MQTT-4.3.3-2]: once, however often it is sent.
    if (!session.incoming.has(id)) {
      session.incoming.add(id);
      distribution.publish(message, session.clientId);
    }
    client.write(encodeAck('pubrec', id));
    return;
  }
  distribution.publish(message, session.clientId);
  if (message.qos === 1) client.write(encodeAck('puback', id));
}
