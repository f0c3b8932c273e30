/**
 * A third party's MQTT client that waits for nothing: it logs in as a device and writes PUBLISH after PUBLISH at
 * QoS 1, as fast as its socket takes them; it may also never read.
 */

import { connect, type Socket } from 'node:net';
import { generate, type Packet, parser } from 'mqtt-packet';
import type { TestDevice } from '../../broker/support/device.ts';

export class Flooder {
  readonly device: TestDevice;
  readonly socket: Socket;
  /** PUBACKs. */
  acknowledged = 0;
  /** PUBLISHes brought by the broker. */
  received = 0;
  written = 0;
  isClosed = false;
  private nextId = 0;

  private constructor(device: TestDevice, socket: Socket) {
    this.device = device;
    this.socket = socket;
    socket.on('close', () => {
      this.isClosed = true;
    });
    socket.on('error', () => {});
  }

  /** Logs in and subscribes to what is its own. */
  static async open(device: TestDevice): Promise<Flooder> {
    const password = await device.loginPassword();
    const socket = connect({ port: Number(new URL(device.mqttUrl).port), host: '127.0.0.1' });
    const flooder = new Flooder(device, socket);
    const subscribed = new Promise<void>((resolve, reject) => {
      socket.once('close', () => reject(new Error('connection: closed')));
      const packets = parser();
      packets.on('packet', (packet: Packet) => {
        if (packet.cmd === 'suback') resolve();
        flooder.take(packet);
      });
      socket.on('data', (chunk) => packets.parse(chunk));
    });
    socket.write(
      generate({
        cmd: 'connect',
        protocolId: 'MQTT',
        protocolVersion: 4,
        clean: true,
        keepalive: 0,
        clientId: device.id,
        username: device.id,
        password: Buffer.from(password),
      }),
    );
    const topic = `fp/1/${device.network}/d/${device.id}/+`;
    socket.write(generate({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos: 1 }] }));
    await subscribed;
    return flooder;
  }

  /** Whether the socket takes no more. */
  get isHeld(): boolean {
    return this.socket.writableNeedDrain;
  }

  /** Writes envelopes until there are no more or the connection ends; waits only for the socket. */
  async send(kind: string, envelopes: Iterable<Uint8Array>): Promise<void> {
    const topic = this.device.topic(kind);
    for (const envelope of envelopes) {
      if (this.isClosed) return;
      const messageId = (this.nextId++ % 65_535) + 1;
      const payload = Buffer.from(envelope);
      const packet = { cmd: 'publish', topic, payload, qos: 1, messageId } as const;
      this.written += 1;
      const more = this.socket.write(generate({ ...packet, dup: false, retain: false }));
      if (!more) await this.drained();
      // Signing must not keep this process from reading.
      else if (this.written % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  close(): void {
    this.socket.destroy();
  }

  private drained(): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.socket.off('drain', done).off('close', done);
        resolve();
      };
      this.socket.on('drain', done).on('close', done);
    });
  }

  private take(packet: Packet): void {
    if (packet.cmd === 'puback') this.acknowledged += 1;
    if (packet.cmd !== 'publish' || packet.qos === 0) return;
    this.received += 1;
    this.socket.write(generate({ cmd: 'puback', messageId: packet.messageId! }));
  }
}

/** `count` envelopes of about `bytes` each, sealed when they are asked for. */
export function* sealed(
  device: TestDevice,
  { count, payload }: { readonly count: number; readonly payload: Uint8Array },
): Generator<Uint8Array> {
  for (let i = 0; i < count; i += 1) yield device.seal({ payload });
}
