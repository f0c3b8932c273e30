/**
 * Packets of every kind in any order at the plain listener, whole or mutated: each good one is answered as the
 * specification says and in its turn; a bad one ends the connection.
 */

import mqttPacket, { type Packet } from 'mqtt-packet';
import type { Chance } from '../chance.ts';
import { Finding } from '../finding.ts';
import { cutStream, mutateStream } from '../packets/stream-mutations.ts';
import { readWire } from '../packets/wire-reader.ts';
import { connectOf, endSession, FuzzClient, type PlainTarget } from './plain-client.ts';
import { expectedAnswers } from './second-reading.ts';

/** The broker's. */
const LIMITS = { maxConnectBytes: 4096, maxPacketBytes: 262_144 };
const PARTS = ['a', 'b', '', 'é', '$x', ' ', '日本', 'fp', '$SYS', '$share', '1', 'd', 'state'];
/** Few, so that they are met again in the wrong place. */
const IDS = [1, 2, 3, 65_535];

export async function stormCase(
  target: PlainTarget,
  number: number,
  chance: Chance,
): Promise<void> {
  const clientId = `storm-${number}`;
  const clean = chance.oneIn(2);
  const client = new FuzzClient(target);
  client.acknowledges = false;
  const packets = Array.from({ length: 1 + chance.int(20) }, () => anyPacket(target, chance));
  if (chance.oneIn(3)) mutateStream(packets, chance);
  const will = { topic: 'storm/will', payload: Buffer.of(1), qos: 2, retain: true } as const;
  const connect = connectOf({ clientId, clean, ...(chance.oneIn(4) && { will }) });
  const stream = Buffer.concat([mqttPacket.generate(connect), ...packets]);
  const { wire } = client;
  for (const chunk of cutStream(stream, chance)) wire.send(chunk);
  const reading = readWire(stream, LIMITS);
  const { answers, disconnects } = expectedAnswers(
    stream.subarray(0, reading.good),
    target.network,
  );
  const got = () => wire.packets.filter(({ cmd }) => cmd !== 'publish').map(describeAnswer);
  const ends = disconnects || reading.offence !== null;
  if (ends) await wire.until(() => false, `the end after ${reading.offence ?? 'DISCONNECT'}`);
  else await wire.until(() => got().length >= answers.length, 'answers');
  // What was on its way to a connection that is cut off may be lost.
  const all = got();
  const wanted = ends ? answers.slice(0, all.length) : answers;
  if (all.join(';') !== wanted.join(';')) {
    throw new Finding(`answers: expected ${wanted.join('; ')}, got ${all.join('; ')}`, stream);
  }
  if (!ends && wire.isClosed) throw new Finding('ended without an offence', stream);
  client.check();
  wire.close();
  await endSession(target, clientId);
}

export function describeAnswer(packet: Packet): string {
  switch (packet.cmd) {
    case 'connack':
      return packet.returnCode === 0 ? 'connack' : `connack ${packet.returnCode}`;
    case 'suback':
      return `suback ${packet.messageId} ${(packet.granted as number[]).join()}`;
    case 'pingresp':
      return 'pingresp';
    default:
      return `${packet.cmd} ${packet.messageId}`;
  }
}

function anyPacket(target: PlainTarget, chance: Chance): Buffer {
  const messageId = chance.oneIn(8) ? 1 + chance.int(65_535) : chance.pick(IDS);
  const { network } = target;
  switch (chance.int(chance.oneIn(30) ? 12 : 11)) {
    case 0:
    case 1:
    case 2: {
      const qos = chance.int(3) as 0 | 1 | 2;
      const isHostile = chance.oneIn(4);
      const { topic, bytes } = isHostile
        ? target.envelope()
        : { topic: anyTopic(network, chance), bytes: chance.bytes(chance.int(40)) };
      return mqttPacket.generate({
        ...{ cmd: 'publish', topic, payload: Buffer.from(bytes), qos, retain: chance.oneIn(3) },
        ...{ dup: qos > 0 && chance.oneIn(3), ...(qos > 0 && { messageId }) },
      });
    }
    case 3:
    case 4: {
      const subscriptions = Array.from({ length: 1 + chance.int(4) }, () => ({
        topic: anyFilter(network, chance),
        qos: chance.int(3) as 0 | 1 | 2,
      }));
      return mqttPacket.generate({ cmd: 'subscribe', messageId, subscriptions });
    }
    case 5: {
      const count = 1 + chance.int(3);
      const unsubscriptions = Array.from({ length: count }, () => anyFilter(network, chance));
      return mqttPacket.generate({ cmd: 'unsubscribe', messageId, unsubscriptions });
    }
    case 6:
      return mqttPacket.generate({ cmd: 'pingreq' });
    case 11:
      return mqttPacket.generate({ cmd: 'disconnect' });
    default: {
      const cmd = chance.pick(['puback', 'pubrec', 'pubrel', 'pubcomp'] as const);
      return mqttPacket.generate({ cmd, messageId } as Packet);
    }
  }
}

function anyTopic(network: string, chance: Chance): string {
  if (chance.oneIn(6))
    return `fp/1/${network}/d/${chance.pick(['x', '+x', ''])}/state`.replace('+', '');
  const topic = levels(chance).join('/');
  return topic === '' ? '/' : topic;
}

function anyFilter(network: string, chance: Chance): string {
  if (chance.oneIn(8)) return `fp/1/${network}/d/+/${chance.pick(['state', '+', 'telemetry'])}`;
  const filter = levels(chance).map((level) => (chance.oneIn(4) ? '+' : level));
  if (chance.oneIn(3)) filter.push('#');
  return filter.join('/') === '' ? '/' : filter.join('/');
}

function levels(chance: Chance): string[] {
  return Array.from({ length: 1 + chance.int(2) }, () => chance.pick(PARTS));
}
