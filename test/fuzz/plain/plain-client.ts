/** A client of the plain profile that notes what it gets and finds what it must never get. */

import type { IConnectPacket, IPublishPacket, Packet } from 'mqtt-packet';
import { Finding } from '../finding.ts';
import { Wire } from '../live/wire.ts';

/** How the broker tells the state of a device. */
const STATE = /^(\{"online":(true|false),.*)?$/;

export interface PlainTarget {
  /** URL of the plain listener. */
  readonly plain: string;
  readonly network: string;
  /** Topic and envelope that the devices' broker would take from its device. */
  readonly envelope: () => { readonly topic: string; readonly bytes: Uint8Array };
}

export class FuzzClient {
  readonly wire: Wire;
  /** PUBLISH packets that came and were not taken out by the case. */
  readonly published: IPublishPacket[] = [];
  /** Whether QoS 1 and 2 are acknowledged. */
  acknowledges = true;
  /** What it got and must never get. */
  private found: Finding | null = null;

  constructor(target: PlainTarget) {
    this.wire = Wire.tcp(target.plain);
    this.wire.listen((packet) => {
      if (packet.cmd === 'publish') {
        this.found ??= problemOf(packet, target.network);
        this.published.push(packet);
      }
      if (!this.acknowledges) return;
      const { messageId = 0 } = packet;
      if (packet.cmd === 'publish' && packet.qos === 1) this.send({ cmd: 'puback', messageId });
      if (packet.cmd === 'publish' && packet.qos === 2) this.send({ cmd: 'pubrec', messageId });
      if (packet.cmd === 'pubrel') this.send({ cmd: 'pubcomp', messageId });
    });
  }

  send(packet: Packet): void {
    this.wire.sendPacket(packet);
  }

  /** @returns return code and session present, or 'end'. */
  async connect(changes: Partial<IConnectPacket>): Promise<string> {
    this.send(connectOf(changes));
    const answer = () => this.wire.packets.find(({ cmd }) => cmd === 'connack');
    await this.wire.until(() => answer() !== undefined, 'CONNECT');
    const packet = answer();
    return packet?.cmd === 'connack' ? `${packet.returnCode} ${packet.sessionPresent}` : 'end';
  }

  /** @throws {Finding} when it is not let in. */
  async enter(changes: Partial<IConnectPacket>, sessionPresent = false): Promise<this> {
    const answer = await this.connect(changes);
    if (answer !== `0 ${sessionPresent}`) {
      throw new Finding(`CONNECT: expected 0 ${sessionPresent}, got ${answer}`);
    }
    return this;
  }

  count(cmd: Packet['cmd']): number {
    return this.wire.packets.filter((packet) => packet.cmd === cmd).length;
  }

  /** What was sent to it before has come, and what it sent is done. */
  async ping(): Promise<void> {
    const before = this.count('pingresp');
    this.send({ cmd: 'pingreq' });
    await this.wire.until(() => this.count('pingresp') > before, 'PINGREQ');
    this.check();
    if (this.wire.isClosed) throw new Finding('plain client: its connection has ended');
  }

  /** @throws {Finding} when it got what nobody may. */
  check(): void {
    if (this.found !== null) throw this.found;
  }

  /** All handshakes of messages to it are over. */
  async settle(): Promise<void> {
    for (let i = 0; i < 3; i++) await this.ping();
  }

  /** Takes out what was published to it. */
  take(): IPublishPacket[] {
    return this.published.splice(0);
  }

  async leave(how: 'disconnect' | 'vanish'): Promise<void> {
    if (how === 'disconnect') this.send({ cmd: 'disconnect' });
    else this.wire.close();
    await this.wire.until(() => false, 'the end of the connection');
  }
}

export function connectOf(changes: Partial<IConnectPacket>): IConnectPacket {
  return {
    ...{ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, keepalive: 0 },
    ...{ clientId: '', ...changes },
  };
}

/** Ends what a client id has kept. */
export async function endSession(target: PlainTarget, clientId: string): Promise<void> {
  const client = new FuzzClient(target);
  await client.enter({ clientId });
  await client.leave('disconnect');
}

/** Of `fp/` nobody sees anything but the state of devices, as the broker itself tells it; of `$SYS/` its own counters. */
function problemOf({ topic, payload }: IPublishPacket, network: string): Finding | null {
  const delivered = new Finding(`delivered: ${topic}`, payload as Buffer);
  if (/^fp(\/|$)/.test(topic)) {
    const isState = new RegExp(`^fp/1/${network}/d/z6Mk[1-9A-HJ-NP-Za-km-z]{44}/state$`).test(
      topic,
    );
    return isState && STATE.test(String(payload)) ? null : delivered;
  }
  const isOwn = topic.startsWith(`$SYS/fieldproof/${network}/`);
  return /^\$(SYS|share)(\/|$)/.test(topic) && !isOwn ? delivered : null;
}
