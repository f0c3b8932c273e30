/** A client that sends what it is told, byte for byte, and keeps the packets that it receives. */

import { connect, type Socket } from 'node:net';
import mqttPacket, { type IConnectPacket, type IPublishPacket, type Packet } from 'mqtt-packet';
import { PATIENCE_MS } from '../../support/until.ts';

export class RawMqtt {
  readonly socket: Socket;
  readonly packets: Packet[] = [];
  /** All that was received. */
  hex = '';
  closed = false;
  private readonly parser = mqttPacket.parser({ protocolVersion: 4 });
  private waiting: (() => void)[] = [];

  /** @param url - such as `mqtt://127.0.0.1:7883`. */
  constructor(url: string) {
    const { hostname, port } = new URL(url);
    this.socket = connect({ host: hostname, port: Number(port), noDelay: true });
    this.parser.on('packet', (packet) => this.packets.push(packet));
    this.socket.on('data', (chunk) => {
      this.hex += chunk.toString('hex');
      this.parser.parse(chunk);
      this.wake();
    });
    this.socket.on('error', () => {});
    this.socket.on('close', () => {
      this.closed = true;
      this.wake();
    });
  }

  /** Sends packets, or bytes, in one write. */
  send(...packets: readonly (Packet | Uint8Array | string)[]): this {
    this.socket.write(
      Buffer.concat(
        packets.map((packet) => {
          if (typeof packet === 'string') return Buffer.from(packet, 'hex');
          return packet instanceof Uint8Array ? packet : mqttPacket.generate(packet);
        }),
      ),
    );
    return this;
  }

  async until(condition: () => boolean, what = 'condition'): Promise<void> {
    const end = Date.now() + PATIENCE_MS;
    while (!condition()) {
      const left = end - Date.now();
      if (left <= 0) throw new Error(`timed out: ${what}; received ${this.hex.slice(-200)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  /** Waits for the next packet of a kind, and takes it. */
  async next<Command extends Packet['cmd']>(cmd: Command): Promise<Packet & { cmd: Command }> {
    const find = () => this.packets.findIndex((packet) => packet.cmd === cmd);
    await this.until(() => find() >= 0 || this.closed, cmd);
    if (find() < 0) throw new Error(`closed before ${cmd}`);
    return this.packets.splice(find(), 1)[0] as Packet & { cmd: Command };
  }

  /** Everything that was sent before has been dealt with when this returns. */
  async ping(): Promise<void> {
    this.send({ cmd: 'pingreq' });
    await this.next('pingresp');
  }

  /** What was published to it and not taken yet. */
  get published(): readonly IPublishPacket[] {
    return this.packets.filter((packet) => packet.cmd === 'publish');
  }

  async subscribe(...filters: readonly [filter: string, qos: 0 | 1 | 2][]): Promise<unknown[]> {
    this.send(subscribePacket(filters));
    return (await this.next('suback')).granted;
  }

  /** Publishes, and answers the acknowledgements of QoS 1 and 2. */
  async publish(topic: string, payload: string, changes: Partial<IPublishPacket> = {}) {
    const packet = publishPacket(topic, payload, changes);
    this.send(packet);
    if (packet.qos === 1) await this.next('puback');
    if (packet.qos === 2) {
      await this.next('pubrec');
      this.send({ cmd: 'pubrel', messageId: packet.messageId! });
      await this.next('pubcomp');
    }
  }

  /** Answers a message of QoS 1 or 2. */
  async settle(packet: IPublishPacket): Promise<void> {
    if (packet.qos === 1) this.send({ cmd: 'puback', messageId: packet.messageId! });
    if (packet.qos !== 2) return;
    this.send({ cmd: 'pubrec', messageId: packet.messageId! });
    const { messageId } = await this.next('pubrel');
    this.send({ cmd: 'pubcomp', messageId: messageId! });
  }

  async disconnect(): Promise<void> {
    this.send({ cmd: 'disconnect' });
    await this.until(() => this.closed, 'close');
  }

  /** Goes without a word. */
  async vanish(): Promise<void> {
    this.socket.destroy();
    await this.until(() => this.closed, 'close');
  }

  private wake(): void {
    const waiting = this.waiting;
    this.waiting = [];
    for (const resume of waiting) resume();
  }
}

export function connectPacket(changes: Partial<IConnectPacket> = {}): IConnectPacket {
  return {
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 4,
    clean: true,
    keepalive: 0,
    clientId: `test-${++counter}`,
    ...changes,
  };
}

export function publishPacket(
  topic: string,
  payload: string,
  changes: Partial<IPublishPacket> = {},
): IPublishPacket {
  const messageId = (counter++ % 60_000) + 1;
  const fields = { topic, payload, qos: 0, retain: false, dup: false } as const;
  return { cmd: 'publish', messageId, ...fields, ...changes };
}

export function subscribePacket(filters: readonly [filter: string, qos: 0 | 1 | 2][]) {
  const subscriptions = filters.map(([topic, qos]) => ({ topic, qos }));
  return { cmd: 'subscribe', messageId: (counter++ % 60_000) + 1, subscriptions } as const;
}

let counter = 0;
