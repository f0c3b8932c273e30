/** A connection to the plain broker with a fault in it: the fuzzer has to find those, so that its silence says something. */

import { connect, createServer, type Server } from 'node:net';

/** Bytes of one packet to a client; what the client gets instead. */
export type Alter = (packet: Buffer) => readonly Buffer[];

const PUBLISH = 3;
const PUBACK = 4;
const SUBACK = 9;

export const PLAIN_FAULTS: readonly { readonly what: string; readonly alter: Alter }[] = [
  {
    what: 'a message comes twice',
    alter: (packet) => (packet[0]! >> 4 === PUBLISH ? [packet, packet] : [packet]),
  },
  {
    what: 'retained messages are not marked',
    alter: (packet) => [
      packet[0]! >> 4 === PUBLISH ? withFirst(packet, packet[0]! & 0xfe) : packet,
    ],
  },
  {
    what: 'what is sent again is not marked',
    alter: (packet) => [
      packet[0]! >> 4 === PUBLISH ? withFirst(packet, packet[0]! & 0xf7) : packet,
    ],
  },
  {
    what: 'acknowledgements name another message',
    alter: (packet) => {
      if (packet[0]! >> 4 !== PUBACK) return [packet];
      const other = Buffer.from(packet);
      other[3] = other[3]! ^ 1;
      return [other];
    },
  },
  {
    what: 'what a device has sent is delivered',
    alter: (packet) => {
      if (packet[0]! >> 4 !== SUBACK) return [packet];
      const topic = Buffer.from('fp/1/n/d/x/telemetry');
      return [packet, Buffer.concat([Buffer.of(0x30, 2 + topic.length, 0, topic.length), topic])];
    },
  },
];

/** @returns the URL at which the broker is found with the fault. */
export async function plantFault(
  url: string,
  alter: Alter,
): Promise<{ readonly url: string; close(): void }> {
  const { hostname, port } = new URL(url);
  const server: Server = createServer({ noDelay: true }, (client) => {
    const broker = connect({ host: hostname, port: Number(port), noDelay: true });
    let held = Buffer.alloc(0);
    broker.on('data', (chunk) => {
      held = Buffer.concat([held, chunk]);
      for (let size = sizeOf(held); size > 0 && size <= held.length; size = sizeOf(held)) {
        for (const bytes of alter(held.subarray(0, size))) client.write(bytes);
        held = held.subarray(size);
      }
    });
    client.on('data', (chunk) => broker.write(chunk));
    for (const [from, to] of [
      [client, broker],
      [broker, client],
    ] as const) {
      from.on('error', () => {});
      from.on('close', () => to.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address() as { readonly port: number };
  return { url: `mqtt://127.0.0.1:${address.port}`, close: () => server.close() };
}

/** Bytes of the first packet; 0: not known yet. */
function sizeOf(bytes: Buffer): number {
  let length = 0;
  for (let at = 1; at < 5 && at < bytes.length; at++) {
    length += (bytes[at]! & 127) * 128 ** (at - 1);
    if (bytes[at]! < 128) return at + 1 + length;
  }
  return 0;
}

function withFirst(packet: Buffer, first: number): Buffer {
  const copy = Buffer.from(packet);
  copy[0] = first;
  return copy;
}
