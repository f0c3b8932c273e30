/**
 * mqtt-packet keeps the encoding of every remaining length below 16,384 that it has written, for ever, and each is a
 * slice of a block of Node's buffer pool, which it keeps alive as a whole: 8 KiB, on Node 24 64 KiB. Made now and then,
 * between other buffers, they come to hold 128 MiB, or 1 GiB; made in one go, a few blocks hold them all.
 * https://github.com/mqttjs/mqtt-packet/issues/163
 */

import { createRequire } from 'node:module';

/** Of mqtt-packet. */
export interface PacketWriter {
  writeToStream(packet: object, stream: { write(chunk: unknown): boolean }): boolean;
}

/** Lengths from here on are not kept. */
const LENGTHS = 16_384;
/** What precedes the payload of a PUBLISH to topic `a` at QoS 0, within the remaining length. */
const TOPIC_BYTES = 3;
const NOWHERE = { write: () => true };

/** Makes all that mqtt-packet will ever keep, in one go: 1.7 MiB, about 50 ms. */
export function packLengthCache({ writeToStream }: PacketWriter): void {
  const payload = Buffer.alloc(LENGTHS);
  const packet = { cmd: 'publish', topic: 'a', qos: 0, dup: false, retain: false, payload };
  for (let length = TOPIC_BYTES; length < LENGTHS; length += 1) {
    packet.payload = payload.subarray(0, length - TOPIC_BYTES);
    writeToStream(packet, NOWHERE);
  }
}

/** The mqtt-packet that Aedes writes with; there could be several. */
export function packetWriterOfAedes(): PacketWriter {
  const aedes = createRequire(import.meta.url).resolve('aedes');
  return createRequire(aedes)('mqtt-packet') as PacketWriter;
}
