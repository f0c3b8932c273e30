/** What a device does once it is in: hostile packets of every kind, or a hostile batch whose verdicts are known. */

import { parseEnvelope } from '@fieldproof/protocol/envelope';
import { decodeReject, type Reject } from '@fieldproof/protocol/settlement-messages';
import type { Packet } from 'mqtt-packet';
import type { TestDevice } from '../../broker/support/device.ts';
import type { Chance } from '../chance.ts';
import { checkRejects, describe } from '../envelopes/envelope-cases.ts';
import { type ExpectedVerdict, ExpectedVerdicts, topicOf } from '../envelopes/expected-verdicts.ts';
import { hostileBatch, type Submitted } from '../envelopes/hostile-envelopes.ts';
import { Finding } from '../finding.ts';
import { laterPacket } from '../packets/packet-sequences.ts';
import { cutStream, mutateStream } from '../packets/stream-mutations.ts';
import { readWire } from '../packets/wire-reader.ts';
import type { LiveBroker } from './live-broker.ts';
import type { Wire } from './wire.ts';

/** Any CONNECT, for reading what comes behind the one that was sent. */
const CONNECT = Buffer.from('101100044d5154540402003c000570726f6265', 'hex');
/** The broker's. */
const LIMITS = { maxConnectBytes: 4096, maxPacketBytes: 262_144 };

export type Sent = Submitted & ExpectedVerdict;

/** Mutated packets after the login: whatever comes of them, an answer to PINGREQ or the end of the connection. */
export async function packetStorm(wire: Wire, chance: Chance): Promise<void> {
  const packets = Array.from({ length: 1 + chance.int(12) }, () => laterPacket(chance));
  if (!chance.oneIn(3)) mutateStream(packets, chance);
  const stream = Buffer.concat(packets);
  for (const chunk of cutStream(stream, chance)) wire.send(chunk);
  const reading = readWire(Buffer.concat([CONNECT, stream]), LIMITS);
  if (reading.offence !== null) {
    await wire.until(() => false, `the end of the connection after: ${reading.offence}`);
  } else if (reading.good === CONNECT.length + stream.length) await settled(wire);
}

/** QoS 2 in every wrong order: releases of nothing, the same id again and again, acknowledgements nobody waits for. */
export async function qos2Storm(wire: Wire, topic: string, chance: Chance): Promise<void> {
  const ids = [1, 2, 65_535];
  for (let i = 0; i < 3 + chance.int(30); i++) {
    const messageId = chance.pick(ids);
    const cmd = chance.pick(['publish', 'pubrel', 'pubrec', 'pubcomp', 'puback'] as const);
    if (cmd === 'publish') {
      const payload = Buffer.from(chance.bytes(chance.int(20)));
      wire.sendPacket({
        cmd,
        messageId,
        topic,
        payload,
        qos: 2,
        dup: chance.oneIn(2),
        retain: false,
      });
    } else wire.sendPacket({ cmd, messageId } as Packet);
  }
  await settled(wire);
}

/** A hostile batch of a fresh device, on its own connection: every verdict must be the expected one. */
export async function hostileSession(
  wire: Wire,
  {
    broker,
    device,
    other,
  }: { readonly broker: LiveBroker; readonly device: TestDevice; readonly other: TestDevice },
  chance: Chance,
): Promise<Sent[]> {
  const { network } = broker;
  const { signer, nonce } = device;
  const now = Date.now();
  const made = new Set<string>();
  const others = [other.signer, broker.newDevice().signer];
  const author = { network, signer, others, nonce, now, made, leaf: null };
  const batch = hostileBatch(author, chance);
  const { publicKey } = signer;
  const context = { network, publicKey, retired: null, at: now, made, calculates: true };
  const judge = new ExpectedVerdicts(context, { nonce, leaf: null });
  const items: Sent[] = batch.map((submitted) => ({ ...submitted, ...judge.next(submitted) }));
  const rejects: Reject[] = [];
  let settledCount = 0;
  wire.listen((packet) => {
    if (packet.cmd === 'puback' || packet.cmd === 'pubrec') settledCount += 1;
    if (packet.cmd !== 'publish' || !packet.topic.endsWith('/reject')) return;
    rejects.push(decodeReject(parseEnvelope(Uint8Array.from(packet.payload as Buffer)).payload));
  });
  const topic = `fp/1/${network}/d/${device.id}/+`;
  wire.sendPacket({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos: 0 }] });
  // What is refused before the subscription is in force is told to nobody.
  const isSubscribed = () => wire.packets.some(({ cmd }) => cmd === 'suback');
  await wire.until(isSubscribed, 'SUBACK');
  let waited = 0;
  for (const [index, item] of items.entries()) {
    const { envelope, retain, qos, codes } = item;
    if (codes.includes('ERR_BOOT_CLONED')) {
      await wire.until(() => settledCount >= waited, 'PUBACK');
      // Also what nothing acknowledges: which boot was first is settled when that one is durable.
      await broker.idle();
    }
    const self = { network, deviceId: device.id, otherId: other.id };
    wire.sendPacket({
      ...{ cmd: 'publish', topic: topicOf(item, self), payload: Buffer.from(envelope) },
      ...{ qos, retain, dup: false, ...(qos > 0 && { messageId: 10 + index }) },
    });
    if (qos > 0) waited += 1;
  }
  await wire.until(() => settledCount >= waited, 'PUBACK');
  if (wire.isClosed) throw new Finding('session: ended by well-formed packets', describe(items));
  // The notice of a message of QoS 0, which nothing acknowledges, may come behind everything else.
  const refused = items.filter(({ outcome }) => outcome === 'rejected').length;
  await wire.until(() => rejects.length >= refused, 'reject');
  await settled(wire);
  checkRejects(items, rejects);
  return items;
}

/** PINGREQ is answered, or the connection is at its end. */
async function settled(wire: Wire): Promise<void> {
  const pings = () => wire.packets.filter(({ cmd }) => cmd === 'pingresp').length;
  const before = pings();
  wire.sendPacket({ cmd: 'pingreq' });
  await wire.until(() => pings() > before, 'PINGREQ');
}
