/** What is done to a stream of packets, and how it is cut into chunks. */

import type { Chance } from '../chance.ts';

/** Long forms of ASCII, surrogates, NUL, what no UTF-8 has. */
const BAD_TEXTS = ['c080', 'c1bf', 'e08080', 'eda080', 'edbfbf', '00', 'ff', 'f4908080', 'f8'].map(
  (hex) => Buffer.from(hex, 'hex'),
);

type Mutation = (packets: Buffer[], chance: Chance) => void;

const MUTATIONS: readonly Mutation[] = [
  // Flip a bit.
  (packets, chance) => {
    change(packets, chance, (packet) => {
      const at = chance.int(packet.length);
      packet[at] = packet[at]! ^ (1 << chance.int(8));
      return packet;
    });
  },
  // Another byte.
  (packets, chance) => {
    change(packets, chance, (packet) => {
      packet[chance.int(packet.length)] = chance.pick([0, 1, 0x7f, 0x80, 0xff, chance.int(256)]);
      return packet;
    });
  },
  // Cut, with and without a length that knows of it.
  (packets, chance) => {
    change(packets, chance, (packet) => packet.subarray(0, 1 + chance.int(packet.length)));
  },
  (packets, chance) => {
    change(packets, chance, (packet) => {
      const { first, body } = split(packet);
      return join(first, body.subarray(0, chance.int(body.length + 1)));
    });
  },
  // More bytes behind, within the length.
  (packets, chance) => {
    change(packets, chance, (packet) => {
      const { first, body } = split(packet);
      return join(first, Buffer.concat([body, chance.bytes(1 + chance.int(5))]));
    });
  },
  // Wrong remaining length: other, huge, in more bytes than needed, in five.
  (packets, chance) => {
    change(packets, chance, (packet) => {
      const { first, body } = split(packet);
      const length = chance.pick([0, body.length + 1, body.length - 1, chance.odd(), 268_435_455]);
      const bytes = encodeLength(Math.max(0, length % 268_435_456));
      while (chance.oneIn(3) && bytes.length < 6) {
        bytes[bytes.length - 1]! |= 0x80;
        bytes.push(0);
      }
      return Buffer.concat([Buffer.of(first), Buffer.from(bytes), body]);
    });
  },
  // Flags.
  (packets, chance) => {
    change(packets, chance, (packet) => {
      packet[0] = (packet[0]! & 0xf0) | chance.int(16);
      return packet;
    });
  },
  // Type.
  (packets, chance) => {
    change(packets, chance, (packet) => {
      packet[0] = (packet[0]! & 0x0f) | (chance.int(16) << 4);
      return packet;
    });
  },
  // Packet id 0, wherever it may be.
  (packets, chance) => {
    change(packets, chance, (packet) => {
      const { first, body } = split(packet);
      const isPublish = first >> 4 === 3 && body.length > 2;
      const at = isPublish ? 2 + body.readUInt16BE(0) : 0;
      if (at + 2 <= body.length) body.writeUInt16BE(0, at);
      return packet;
    });
  },
  // Text that is none.
  (packets, chance) => {
    change(packets, chance, (packet) => {
      const bad = chance.pick(BAD_TEXTS);
      const at = Math.max(0, packet.length - bad.length - chance.int(packet.length));
      bad.copy(packet, at);
      return packet;
    });
  },
  // Wildcards where none belong.
  (packets, chance) => {
    change(packets, chance, (packet) => {
      packet[chance.int(packet.length)] = chance.pick([0x23, 0x2b, 0x2f]);
      return packet;
    });
  },
  // Again, in another order, or one inside the other.
  (packets, chance) => {
    const again = chance.pick(packets);
    packets.splice(chance.int(packets.length + 1), 0, again);
  },
  (packets, chance) => {
    const [packet] = packets.splice(chance.int(packets.length), 1);
    packets.splice(chance.int(packets.length + 1), 0, packet!);
  },
  (packets, chance) => {
    const other = chance.pick(packets);
    change(packets, chance, (packet) => {
      const at = chance.int(packet.length);
      return Buffer.concat([packet.subarray(0, at), other, packet.subarray(at)]);
    });
  },
  // Anything.
  (packets, chance) => {
    packets.push(Buffer.from(chance.bytes(1 + chance.int(20))));
  },
];

/** Mutates a sequence a few times, in place. */
export function mutateStream(packets: Buffer[], chance: Chance): void {
  const times = 1 + chance.int(3);
  for (let i = 0; i < times; i++) chance.pick(MUTATIONS)(packets, chance);
}

/** Cuts a stream: at every byte, in few places, in many, or nowhere. */
export function cutStream(stream: Buffer, chance: Chance): Buffer[] {
  const way = chance.int(4);
  const longest = way === 0 ? stream.length : way === 1 ? 1 : way === 2 ? 7 : 300;
  const chunks: Buffer[] = [];
  for (let at = 0; at < stream.length; ) {
    // Above 4 KiB byte by byte says nothing new.
    const size = longest === 1 && stream.length < 4096 ? 1 : 1 + chance.int(Math.max(1, longest));
    chunks.push(stream.subarray(at, at + size));
    at += size;
  }
  return chunks;
}

function change(packets: Buffer[], chance: Chance, how: (packet: Buffer) => Buffer): void {
  const at = chance.int(packets.length);
  const packet = packets[at];
  if (packet === undefined || packet.length === 0) return;
  packets[at] = how(Buffer.from(packet));
}

function split(packet: Buffer): { readonly first: number; readonly body: Buffer } {
  let at = 1;
  while (at < 4 && (packet[at] ?? 0) >= 0x80) at++;
  return { first: packet[0]!, body: packet.subarray(at + 1) };
}

function join(first: number, body: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(first), Buffer.from(encodeLength(body.length)), body]);
}

function encodeLength(length: number): number[] {
  const bytes: number[] = [];
  let rest = length;
  do {
    const byte = rest % 128;
    rest = Math.floor(rest / 128);
    bytes.push(rest > 0 ? byte | 0x80 : byte);
  } while (rest > 0);
  return bytes;
}
