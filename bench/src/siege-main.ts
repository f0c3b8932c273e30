/**
 * Attackers as a process: each kind keeps so many connections at it, from addresses of its own, and comes back when it
 * is cut. Orders and answers go over IPC: `attack` → `attacking` when every connection was tried once, `count` →
 * `counted`.
 */

import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { setPriority } from 'node:os';
import { createFleet, type FleetDevice } from './fleet.ts';
import { openWriter } from './mqtt-writer.ts';

export interface Attack {
  readonly kind: keyof typeof ATTACKS;
  /** Connections at a time. */
  readonly connections: number;
  /** Address of this machine from which it comes; it must not be a trusted one of the broker. */
  readonly from: string;
}

export interface SiegePlan {
  readonly mqttPort: number;
  readonly mqttsPort: number;
  readonly http: string;
  /** For the device of `forgeries` and those of `half packets`. */
  readonly joinLine: string;
  readonly devices: number;
  readonly attacks: readonly Attack[];
}

/** What became of one kind. */
export interface AttackCounts {
  readonly opened: number;
  readonly cut: number;
  /** PUBACKs of what a device sent that is logged in. */
  readonly acknowledged: number;
}

export type SiegeOrder =
  | { readonly order: 'attack'; readonly plan: SiegePlan }
  | { readonly order: 'count' };

interface Context extends SiegePlan {
  readonly fleet: readonly FleetDevice[];
}

/** Between two bytes of a slow CONNECT. */
const DRIP_MS = 250;
/** Who was cut comes back after this. */
const RETURN_MS = 100;
const FORGERIES_IN_FLIGHT = 50;
/** They stand for other machines: they take what the broker and the devices leave of this one. */
const LOWEST_PRIORITY = 19;

/** What a connection does once it is open; the login of a device is a matter of its own. */
const ATTACKS = {
  'slow CONNECT': (socket: Socket, { fleet }: Context) => {
    const bytes = connectOf(fleet[0]!.id, 'x'.repeat(300));
    let at = 0;
    const timer = setInterval(() => socket.write(bytes.subarray(at, ++at)), DRIP_MS);
    socket.once('close', () => clearInterval(timer));
  },
  'open handshake': (socket: Socket) => {
    // A TLS record that announces a ClientHello of 512 bytes and brings five.
    socket.write(Buffer.from('1603010200010001fc03', 'hex'));
  },
  garbage: (socket: Socket) => {
    socket.write(randomBytes(512));
  },
  'bad login': (socket: Socket, { fleet }: Context) => {
    socket.write(connectOf(fleet[0]!.id, randomBytes(150).toString('base64url')));
  },
  'half packet': null,
  forgeries: null,
} as const;

const counts = new Map<string, { opened: number; cut: number; acknowledged: number }>();

process.on('disconnect', () => process.exit(0));
process.on('SIGTERM', () => process.exit(0));
process.on('message', (order: SiegeOrder) => {
  obey(order).catch((error: Error) => {
    process.send!({ event: 'failed', message: String(error.stack) });
  });
});
setPriority(LOWEST_PRIORITY);
process.send!({ event: 'ready' });

async function obey(order: SiegeOrder): Promise<void> {
  if (order.order === 'count') {
    process.send!({ event: 'counted', counts: Object.fromEntries(counts) });
    return;
  }
  const { plan } = order;
  const { http, joinLine, devices } = plan;
  const fleet = await createFleet({
    ...{ http, joinLine, devices, batchesPerDevice: 1, format: 'senml' },
  });
  const context: Context = { ...plan, fleet };
  for (const attack of plan.attacks) {
    if (!counts.has(attack.kind)) {
      counts.set(attack.kind, { opened: 0, cut: 0, acknowledged: 0 });
    }
    if (attack.kind === 'forgeries') await forge(context);
    else if (attack.kind === 'half packet') await holdHalves(context);
    else await besiege(attack, context);
  }
  process.send!({ event: 'attacking' });
}

/** Keeps connections open that do what the kind does; resolves when each was open once. */
async function besiege({ kind, connections, from }: Attack, context: Context): Promise<void> {
  const count = counts.get(kind)!;
  const act = ATTACKS[kind]!;
  const port = kind === 'open handshake' ? context.mqttsPort : context.mqttPort;
  const open = (): Promise<void> =>
    new Promise((resolve) => {
      const socket = connect({ host: '127.0.0.1', port, localAddress: from, noDelay: true });
      socket.once('connect', () => {
        count.opened += 1;
        act(socket, context);
        resolve();
      });
      socket.on('error', () => {});
      socket.resume();
      socket.once('close', () => {
        count.cut += 1;
        resolve();
        setTimeout(open, RETURN_MS);
      });
    });
  for (let n = 0; n < connections; n++) await open();
}

/** One device publishes what it has not signed, as fast as it is answered. */
async function forge({ fleet, mqttPort }: Context): Promise<void> {
  const count = counts.get('forgeries')!;
  const [device] = fleet;
  const forged = device!.packets[0]!;
  forged[forged.length - 1]! ^= 1;
  let id = 0;
  const send = () => {
    id = (id % 0xffff) + 1;
    writer.publish(forged, id);
  };
  const { password } = await device!.login();
  const login = { clientId: device!.id, username: device!.id, password, port: mqttPort };
  const writer = await openWriter({
    ...login,
    onPuback: () => {
      count.acknowledged += 1;
      send();
    },
    onIdle: () => {},
    onError: () => {
      count.cut += 1;
    },
  });
  count.opened += 1;
  for (let n = 0; n < FORGERIES_IN_FLIGHT; n++) send();
}

/** All devices but the first log in and send nearly the whole of a packet. */
async function holdHalves({ fleet, mqttPort }: Context): Promise<void> {
  const count = counts.get('half packet')!;
  for (const device of fleet.slice(1)) {
    const { password } = await device.login();
    const writer = await openWriter({
      ...{ clientId: device.id, username: device.id, password, port: mqttPort },
      onPuback: () => {},
      onIdle: () => {},
      onError: () => {
        count.cut += 1;
      },
    });
    count.opened += 1;
    writer.publish(halfPacket(device), 1);
  }
}

/** A PUBLISH that announces 200,000 bytes and brings 100,000. */
function halfPacket({ network, id }: FleetDevice): Buffer {
  const topic = Buffer.from(`fp/1/${network}/d/${id}/telemetry`);
  const head = Buffer.from([0x32, 0xc0, 0x9a, 0x0c, 0, topic.length]);
  return Buffer.concat([head, topic, Buffer.alloc(100_000)]);
}

function connectOf(id: string, password: string): Buffer {
  const fields = [id, id, password].map((text) => {
    const bytes = Buffer.from(text);
    return Buffer.concat([Buffer.of(bytes.length >> 8, bytes.length & 0xff), bytes]);
  });
  const body = Buffer.concat([Buffer.from('00044d51545404c20000', 'hex'), ...fields]);
  return Buffer.concat([Buffer.of(0x10, (body.length & 0x7f) | 0x80, body.length >> 7), body]);
}
