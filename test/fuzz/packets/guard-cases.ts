/**
 * Packets without sockets: mutated streams through the guard, against a second reading of the specification and
 * against the parser of Aedes (mqtt-packet), which must understand whatever the guard lets through.
 */

import type { GuardLimits, PacketGuard } from '@fieldproof/broker/mqtt/guard';
import mqttPacket, { type Packet } from 'mqtt-packet';
import type { Chance } from '../chance.ts';
import { Finding } from '../finding.ts';
import { goodSequence } from './packet-sequences.ts';
import { cutStream, mutateStream } from './stream-mutations.ts';
import { readWire } from './wire-reader.ts';

/** What is used of a guard. */
export type GuardPart = Pick<PacketGuard, 'push' | 'isWaiting' | 'takeOthers'>;
export type MakeGuard = (limits: GuardLimits) => GuardPart;

const EMPTY = Buffer.alloc(0);
const LIMITS: GuardLimits = { maxConnectBytes: 512, maxPacketBytes: 4096 };

/** One case. `recorded` are packets of other programs to start from as well. */
export function guardCase(
  chance: Chance,
  { makeGuard, recorded }: { readonly makeGuard: MakeGuard; readonly recorded: readonly Buffer[] },
): void {
  const packets = goodSequence(chance);
  if (recorded.length > 0 && chance.oneIn(4)) {
    packets.splice(chance.int(packets.length + 1), 0, Buffer.from(chance.pick(recorded)));
  }
  const isMutated = !chance.oneIn(5);
  if (isMutated) mutateStream(packets, chance);
  const stream = Buffer.concat(packets);
  const chunks = cutStream(stream, chance);
  const most = chance.pick([0, 1, 5, Number.POSITIVE_INFINITY]);
  const { passed, others, ended } = feed(makeGuard(LIMITS), chunks, () =>
    Number.isFinite(most) ? chance.int(most + 1) : most,
  );
  const wire = readWire(stream, LIMITS);

  const isSame = passed.equals(stream.subarray(0, passed.length));
  if (!isSame) throw new Finding('guard: hands on other bytes than it was given', stream);
  if (ended === null && wire.offence !== null) {
    throw new Finding(
      `guard: lets through what the specification forbids: ${wire.offence}`,
      stream,
    );
  }
  if (ended !== null && wire.offence === null) {
    throw new Finding(`guard: refuses what the specification allows, by ${ended}`, stream);
  }
  if (passed.length > wire.good) throw new Finding('guard: hands on an offence', stream);
  if (ended === null && passed.length !== wire.good) {
    throw new Finding('guard: keeps whole packets back', stream);
  }
  const parsed = parseAll(passed, stream);
  if (ended === null && parsed.length !== wire.packets) {
    const counts = `${parsed.length} instead of ${wire.packets}`;
    throw new Finding(
      `mqtt-packet: sees other packets in what the guard let through: ${counts}`,
      stream,
    );
  }
  for (const packet of parsed) checkParsed(packet, stream);
  const asked = parsed.reduce((sum, packet) => sum + askedBy(packet), 0);
  if (ended === null && others !== asked) {
    throw new Finding(`guard: counts ${others} packets that are no PUBLISH`, stream);
  }
}

/** Each filter counts as a packet; a PUBLISH is counted elsewhere. */
function askedBy(packet: Packet): number {
  if (packet.cmd === 'publish') return 0;
  if (packet.cmd === 'subscribe') return packet.subscriptions.length;
  return packet.cmd === 'unsubscribe' ? packet.unsubscriptions.length : 1;
}

/** Gives the chunks, and asks for what waits; `mostAtOnce` as a rate limit would. */
function feed(
  guard: GuardPart,
  chunks: readonly Buffer[],
  mostAtOnce: () => number,
): { readonly passed: Buffer; readonly others: number; readonly ended: string | null } {
  const passed: Buffer[] = [];
  let others = 0;
  const push = (chunk: Buffer, allowance: number): string | null => {
    const result = guard.push(chunk, allowance);
    others += guard.takeOthers();
    if (result !== null && !Buffer.isBuffer(result)) return result.clause;
    // A copy: what the guard gives may be its own memory.
    if (result !== null) passed.push(Buffer.from(result));
    return null;
  };
  let ended: string | null = null;
  for (const chunk of chunks) {
    ended = push(chunk, mostAtOnce());
    while (ended === null && guard.isWaiting) ended = push(EMPTY, 1 + mostAtOnce());
    if (ended !== null) break;
  }
  return { passed: Buffer.concat(passed), others, ended };
}

function parseAll(bytes: Buffer, stream: Buffer): Packet[] {
  const parser = mqttPacket.parser({ protocolVersion: 4 });
  const packets: Packet[] = [];
  let failure: Error | null = null;
  parser.on('packet', (packet) => packets.push(packet));
  parser.on('error', (error) => {
    failure ??= error;
  });
  if (bytes.length > 0) parser.parse(bytes);
  if (failure !== null) {
    const { message } = failure as Error;
    throw new Finding(`mqtt-packet: fails at what the guard let through: ${message}`, stream);
  }
  return packets;
}

/** What Aedes would act on must make sense. */
function checkParsed(packet: Packet, stream: Buffer): void {
  const fields = packet as { readonly topic?: string; readonly messageId?: number };
  if (fields.messageId === 0) throw new Finding(`${packet.cmd}: packet id 0 reaches Aedes`, stream);
  if (fields.topic?.includes('\0')) throw new Finding('U+0000 in a topic reaches Aedes', stream);
}
