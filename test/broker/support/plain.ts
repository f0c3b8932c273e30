/** A broker with the plain profile open, and clients of it. */

import type { BrokerDependencies } from '@fieldproof/broker/broker';
import type { BrokerOptions } from '@fieldproof/broker/config';
import type { PlainStatus } from '@fieldproof/broker/mqtt/plain/plain-status';
import type { IConnectPacket } from 'mqtt-packet';
import { startTestBroker, type TestBroker } from './broker.ts';
import { connectPacket, RawMqtt } from './raw-mqtt.ts';

export interface PlainTest {
  readonly broker: TestBroker;
  readonly url: string;
  /** A client that is let in. */
  client(changes?: Partial<IConnectPacket>): Promise<RawMqtt>;
  /** A connection that has sent nothing. */
  dial(): RawMqtt;
  status(): PlainStatus;
  close(): Promise<void>;
}

export async function startPlain(
  options: Partial<BrokerOptions> = {},
  dependencies: BrokerDependencies = {},
): Promise<PlainTest> {
  const broker = await startTestBroker({ plainPort: 0, ...options }, dependencies);
  const clients: RawMqtt[] = [];
  const dial = () => {
    const raw = new RawMqtt(broker.running.addresses.plain!);
    clients.push(raw);
    return raw;
  };
  return {
    broker,
    url: broker.running.addresses.plain!,
    dial,
    client: async (changes = {}) => {
      const raw = dial();
      raw.send(connectPacket(changes));
      const { returnCode } = await raw.next('connack');
      if (returnCode !== 0) throw new Error(`CONNACK ${returnCode}`);
      return raw;
    },
    status: () => broker.running.status().plain,
    close: async () => {
      for (const { socket } of clients) socket.destroy();
      await broker.close();
    },
  };
}
