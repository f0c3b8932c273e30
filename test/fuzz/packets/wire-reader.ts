/**
 * A second reading of MQTT 3.1.1 (OASIS, sections 2 and 3), written from the text and apart from the guard: what of a
 * client's stream may reach the broker, and where it must end. Slow and plain on purpose.
 */

export interface WireLimits {
  readonly maxConnectBytes: number;
  readonly maxPacketBytes: number;
}

export interface WireReading {
  /** Bytes of the whole packets before the first offence. */
  readonly good: number;
  readonly packets: number;
  /** What is wrong with the next one; null when it is only not finished. */
  readonly offence: string | null;
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Reads a stream to its end or to its first offence. */
export function readWire(stream: Uint8Array, limits: WireLimits): WireReading {
  let good = 0;
  let packets = 0;
  for (;;) {
    const rest = stream.subarray(good);
    if (rest.length === 0) return { good, packets, offence: null };
    const type = rest[0]! >> 4;
    const offence = (what: string): WireReading => ({ good, packets, offence: what });
    if (packets === 0 && type !== 1) return offence('first packet is no CONNECT');
    if (packets > 0 && type === 1) return offence('second CONNECT');
    const size = remainingLength(rest);
    if (size === 'offence') return offence('remaining length of five bytes');
    if (size === 'unfinished') return { good, packets, offence: null };
    const [length, head] = size;
    if (length > (packets === 0 ? limits.maxConnectBytes : limits.maxPacketBytes)) {
      return offence('size');
    }
    if (rest.length < head + length) return { good, packets, offence: null };
    const fault = faultOf(rest[0]!, rest.subarray(head, head + length));
    if (fault !== null) return offence(fault);
    good += head + length;
    packets += 1;
  }
}

function remainingLength(rest: Uint8Array): [number, number] | 'offence' | 'unfinished' {
  let multiplier = 1;
  let value = 0;
  for (let at = 1; at <= 4; at++) {
    if (at >= rest.length) return 'unfinished';
    value += (rest[at]! & 127) * multiplier;
    if ((rest[at]! & 128) === 0) return [value, at + 1];
    multiplier *= 128;
  }
  return 'offence';
}

/** The required flags of section 2.2.2, by packet type; PUBLISH has its own. */
const FLAGS: Readonly<Record<number, number>> = {
  ...{ 1: 0, 4: 0, 5: 0, 6: 2, 7: 0, 8: 2, 10: 2, 12: 0, 14: 0 },
};

function faultOf(first: number, body: Uint8Array): string | null {
  const type = first >> 4;
  const flags = first & 15;
  const reader = new Reader(body);
  try {
    if (type === 3) readPublish(reader, flags);
    else if (FLAGS[type] === undefined) return `type ${type} is none of a client`;
    else if (FLAGS[type] !== flags) return 'flags';
    else if (type === 1) readConnect(reader);
    else if (type === 8 || type === 10) readFilters(reader, type === 8);
    else if (type >= 4 && type <= 7) reader.id();
    if (type !== 3 && reader.left > 0) return 'bytes behind the packet';
    return null;
  } catch (error) {
    if (error instanceof Fault) return error.message;
    throw error;
  }
}

function readConnect(reader: Reader): void {
  if (Buffer.from(reader.block()).toString('latin1') !== 'MQTT') throw new Fault('protocol name');
  if (reader.byte() !== 4) throw new Fault('protocol level');
  const flags = reader.byte();
  const has = (bit: number) => (flags & (1 << bit)) !== 0;
  if (has(0)) throw new Fault('reserved connect flag');
  if (!has(2) && (has(3) || has(4) || has(5))) throw new Fault('will flags without a will');
  if (has(3) && has(4)) throw new Fault('will QoS 3');
  if (has(6) && !has(7)) throw new Fault('password without user name');
  reader.number();
  const clientId = reader.text();
  if (has(2)) {
    topicName(reader.text());
    reader.block();
  }
  if (has(7)) reader.text();
  if (has(6)) reader.block();
  if (clientId === '' && !has(1) && reader.left === 0) throw new Fault('no client id, not clean');
}

function readPublish(reader: Reader, flags: number): void {
  const qos = (flags & 6) >> 1;
  if (qos === 3) throw new Fault('QoS 3');
  if (qos === 0 && (flags & 8) === 8) throw new Fault('DUP with QoS 0');
  topicName(reader.text());
  if (qos > 0) reader.id();
}

function readFilters(reader: Reader, withQos: boolean): void {
  reader.id();
  do {
    const filter = reader.text();
    if (filter === '') throw new Fault('empty filter');
    const levels = filter.split('/');
    for (const [index, level] of levels.entries()) {
      if (level.includes('#') && (level !== '#' || index < levels.length - 1)) throw new Fault('#');
      if (level.includes('+') && level !== '+') throw new Fault('+');
    }
    if (withQos && reader.byte() > 2) throw new Fault('requested QoS');
  } while (reader.left > 0);
}

function topicName(topic: string): void {
  if (topic === '') throw new Fault('empty topic');
  if (/[#+]/.test(topic)) throw new Fault('wildcard in a topic name');
}

class Fault extends Error {}

class Reader {
  private readonly body: Uint8Array;
  private at = 0;

  constructor(body: Uint8Array) {
    this.body = body;
  }

  get left(): number {
    return this.body.length - this.at;
  }

  byte(): number {
    if (this.left < 1) throw new Fault('too short');
    return this.body[this.at++]!;
  }

  number(): number {
    return this.byte() * 256 + this.byte();
  }

  id(): void {
    if (this.number() === 0) throw new Fault('packet id 0');
  }

  block(): Uint8Array {
    const length = this.number();
    if (this.left < length) throw new Fault('too short');
    this.at += length;
    return this.body.slice(this.at - length, this.at);
  }

  text(): string {
    const block = this.block();
    let text: string;
    try {
      text = decoder.decode(block);
    } catch {
      throw new Fault('not UTF-8');
    }
    if (text.includes('\0')) throw new Fault('U+0000');
    return text;
  }
}
