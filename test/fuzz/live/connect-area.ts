/**
 * Logins and sessions against the real process, over TCP or WebSocket: right and wrong logins, take-overs, hostile
 * packets and batches. What the log then holds must be what is acceptable, of each device, once.
 */

import mqttPacket from 'mqtt-packet';
import type { TestDevice } from '../../broker/support/device.ts';
import type { Area } from '../area.ts';
import type { Chance } from '../chance.ts';
import { compareLog, describe } from '../envelopes/envelope-cases.ts';
import type { Recorded } from '../envelopes/gate-bench.ts';
import { Finding, type Found } from '../finding.ts';
import { cutStream } from '../packets/stream-mutations.ts';
import type { LiveBroker } from './live-broker.ts';
import { anyLogin, goodLogin, type Login } from './login-cases.ts';
import { hostileSession, packetStorm, qos2Storm, type Sent } from './session-cases.ts';
import { Wire } from './wire.ts';

interface Settled {
  readonly number: number;
  readonly items: readonly Sent[];
}

export class ConnectCases {
  private readonly broker: LiveBroker;
  private readonly open: (http: string, mqtt: string) => Promise<Wire>;
  private readonly area: Area['name'];
  private devices: Promise<readonly TestDevice[]> | null = null;
  private used: string | null = null;
  private readonly batches = new Map<string, Settled>();

  constructor(broker: LiveBroker, area: 'connects' | 'websocket') {
    this.broker = broker;
    this.area = area;
    this.open = async (http, mqtt) =>
      area === 'websocket' ? await Wire.webSocket(http) : Wire.tcp(mqtt);
  }

  /** One case. They come one after the other, since they log in as the same devices. */
  async run(number: number, chance: Chance): Promise<void> {
    const { broker } = this;
    this.devices ??= Promise.all([1, 2].map(() => broker.enrol(broker.newDevice())));
    const [device, other] = (await this.devices) as [TestDevice, TestDevice];
    const way = chance.int(8);
    if (way < 3) {
      const login = await anyLogin({ broker, device, other, used: this.used }, chance);
      await this.tryLogin(login, chance);
    } else if (way === 3) await this.takeOver(device, chance);
    else if (way === 4) await this.cutLogin(device, chance);
    else if (way < 7) {
      const wire = await this.login(device);
      if (chance.oneIn(2)) await packetStorm(wire, chance);
      else await qos2Storm(wire, device.topic('telemetry'), chance);
      wire.close();
    } else {
      const fresh = await broker.enrol(broker.newDevice());
      const wire = await this.login(fresh);
      const items = await hostileSession(wire, { broker, device: fresh, other }, chance);
      wire.close();
      this.batches.set(Buffer.from(fresh.signer.publicKey).toString('hex'), { number, items });
    }
  }

  /** What the log must hold of the devices of these cases. */
  compare(recorded: readonly Recorded[]): Found[] {
    const found: Found[] = [];
    for (const [device, { number, items }] of this.batches) {
      const of = recorded.filter(
        ({ entry }) => 'device' in entry && Buffer.from(entry.device).toString('hex') === device,
      );
      const message = compareLog(items, of);
      if (message !== null) {
        found.push({ area: this.area, number, message, input: describe(items) });
      }
    }
    this.batches.clear();
    return found;
  }

  /** Devices whose entries are compared; nobody else but the witness sends anything acceptable. */
  knows(deviceKey: string): boolean {
    return this.batches.has(deviceKey);
  }

  private async login(device: TestDevice): Promise<Wire> {
    const wire = await this.open(this.broker.http, this.broker.mqtt);
    wire.sendPacket((await goodLogin(device)).packet);
    await connack(wire, 'good', [0]);
    return wire;
  }

  private async tryLogin({ how, packet, expected }: Login, chance: Chance): Promise<void> {
    const wire = await this.open(this.broker.http, this.broker.mqtt);
    for (const chunk of cutStream(mqttPacket.generate(packet), chance)) wire.send(chunk);
    await connack(wire, how, expected);
    if (how === 'good') this.used = String(packet.password);
    wire.close();
  }

  /** Several logins of one device at once: all are let in, the last one stays. */
  private async takeOver(device: TestDevice, chance: Chance): Promise<void> {
    const wires: Wire[] = [];
    for (let i = 0; i < 2 + chance.int(4); i++) {
      const wire = await this.open(this.broker.http, this.broker.mqtt);
      wire.sendPacket((await goodLogin(device)).packet);
      wires.push(wire);
      if (chance.oneIn(2)) await connack(wire, 'good', [0, 'end']);
    }
    for (const wire of wires) await connack(wire, 'taken over', [0, 'end']);
    const last = wires.at(-1)!;
    last.sendPacket({ cmd: 'pingreq' });
    await last.until(() => last.packets.some(({ cmd }) => cmd === 'pingresp'), 'the last login');
    if (last.isClosed) throw new Finding('take-over: the last login has ended');
    for (const wire of wires) wire.close();
  }

  /** Goes away in the middle of its CONNECT, or right behind it. */
  private async cutLogin(device: TestDevice, chance: Chance): Promise<void> {
    const wire = await this.open(this.broker.http, this.broker.mqtt);
    const bytes = mqttPacket.generate((await goodLogin(device)).packet);
    wire.send(bytes.subarray(0, chance.oneIn(3) ? bytes.length : chance.int(bytes.length)));
    if (chance.oneIn(2)) await new Promise((resolve) => setImmediate(resolve));
    wire.close();
  }
}

async function connack(wire: Wire, how: string, expected: Login['expected']): Promise<void> {
  const answer = () => wire.packets.find((packet) => packet.cmd === 'connack');
  await wire.until(() => answer() !== undefined, `login ${how}`);
  const packet = answer();
  const code = packet?.cmd === 'connack' ? (packet.returnCode ?? 'end') : 'end';
  if (expected.includes(code)) return;
  throw new Finding(`login ${how}: expected ${expected.join(' or ')}, got ${code}`);
}
