/** An MQTT broker of nobody in particular on a free port, as those of a house or of a LoRaWAN network server. */

import { type AddressInfo, createServer, type Socket } from 'node:net';
import { Aedes } from 'aedes';

export interface MqttServer {
  /** Its rules may be replaced. */
  readonly broker: Aedes;
  /** `mqtt://127.0.0.1:port`. */
  readonly url: string;
  /** Of everybody who ever came. */
  readonly sockets: ReadonlySet<Socket>;
  /** Cuts everybody off, and ends. */
  close(): Promise<void>;
}

/** Resolves when it listens. */
export async function startMqttServer(): Promise<MqttServer> {
  const broker = await Aedes.createBroker();
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    broker.handle(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    broker,
    sockets,
    url: `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await new Promise<void>((resolve) => broker.close(resolve));
    },
  };
}
