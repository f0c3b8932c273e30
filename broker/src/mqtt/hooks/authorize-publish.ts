/**
 * Hands every PUBLISH to the gate and lets Aedes acknowledge it when it is settled.
 *
 * An error here would close the connection, so refusals come back without one too. Nothing is distributed: up
 * messages have no subscribers, and the packet that goes on is an empty one to a topic that nobody may
 * subscribe to. It runs before PUBACK, which is why PUBACK can mean *settled*.
 */

import type { Duplex } from 'node:stream';
import type { Client, PublishPacket } from 'aedes';
import type { Gate } from '../../gate/gate.ts';
import type { Session } from '../../gate/session.ts';

/** The topic of what goes nowhere. */
export const NOWHERE = '$nowhere';
const EMPTY = Buffer.alloc(0);

export function createAuthorizePublish(options: {
  readonly gate: Pick<Gate, 'receive'>;
  readonly sessionOf: (client: Client) => Session | undefined;
  /** Counts a message that was taken in. @returns what to call when it is settled. */
  readonly enter: (connection: Duplex, bytes: number) => () => void;
}) {
  return (
    client: Client | null,
    packet: PublishPacket,
    done: (error?: Error | null) => void,
  ): void => {
    const session = client === null ? undefined : options.sessionOf(client);
    if (session === undefined) {
      done(new Error('publish: no session'));
      return;
    }
    const { topic, retain, qos, payload } = packet;
    const envelope = typeof payload === 'string' ? Buffer.from(payload) : payload;
    const leave = options.enter(client!.conn, envelope.length);
    options.gate.receive(session, { topic, retain, qos, envelope }, () => {
      leave();
      packet.topic = NOWHERE;
      packet.payload = EMPTY;
      packet.retain = false;
      done(null);
    });
  };
}
