import { type CborValue, decode, encode } from '@fieldproof/protocol/cbor';
import {
  type Birth,
  decodeBirth,
  decodeEvent,
  decodeGap,
  encodeBirth,
  encodeEvent,
  encodeGap,
} from '@fieldproof/protocol/messages';
import {
  decodeReceipt,
  decodeReject,
  encodeReceipt,
  encodeReject,
  type Receipt,
  type Reject,
} from '@fieldproof/protocol/settlement-messages';
import { describe, expect, test } from '@jest/globals';

const seed = Uint8Array.of(1, 2, 3, 4);
const hash = new Uint8Array(32).fill(5);

const birth: Birth = {
  nonce: hash,
  agent: 'a/1',
  source: 'replay',
  profiles: { air: [{ metric: 't', unit: 'Cel', resolution: 0.1, intervalMs: 1000 }] },
  capabilities: { memoryMb: 512 },
  rejectsSeen: [[1, seed, 4]],
  head: [10, hash],
  wall: [1000, 5],
};
const receipt: Receipt = {
  at: 1,
  boots: [[1, seed, -1, [[3, 4]], [[2, 'ERR_TIME_FUTURE']]]],
  entry: [9, hash],
  heads: [[0, 9, hash]],
  checkpoint: null,
};
const reject: Reject = {
  digest: hash,
  boot: [1, seed],
  seq: 3,
  code: 'ERR_TIME_FUTURE',
  remedy: 'Set the clock.',
  permanent: true,
};

const kinds: readonly {
  readonly name: string;
  readonly encoded: Uint8Array;
  readonly read: (bytes: Uint8Array) => unknown;
  readonly value: unknown;
  readonly required: readonly string[];
}[] = [
  {
    name: 'birth',
    encoded: encodeBirth(birth),
    read: decodeBirth,
    value: birth,
    required: ['nonce', 'agent', 'source', 'profiles', 'capabilities', 'rejectsSeen', 'head'],
  },
  {
    name: 'event',
    encoded: encodeEvent({ event: 'clock-step', detail: { byMs: -5000 } }),
    read: decodeEvent,
    value: { event: 'clock-step', detail: { byMs: -5000 } },
    required: ['event'],
  },
  {
    name: 'gap',
    encoded: encodeGap({ gaps: [[1, seed, 2, 5, 'outbox-full']] }),
    read: decodeGap,
    value: { gaps: [[1, seed, 2, 5, 'outbox-full']] },
    required: ['gaps'],
  },
  {
    name: 'receipt',
    encoded: encodeReceipt(receipt),
    read: decodeReceipt,
    value: receipt,
    required: ['at', 'boots', 'entry', 'heads', 'checkpoint'],
  },
  {
    name: 'reject',
    encoded: encodeReject(reject),
    read: decodeReject,
    value: reject,
    required: ['digest', 'boot', 'seq', 'code', 'remedy', 'permanent'],
  },
];

const malformed = expect.objectContaining({ code: 'ERR_MESSAGE_MALFORMED' });
const mapOf = (bytes: Uint8Array) => decode(bytes) as Map<CborValue, CborValue>;

describe.each(kinds)('$name', ({ encoded, read, value, required }) => {
  test('reads back as it was written', () => {
    expect(read(encoded)).toEqual(value);
  });

  test.each(required)('without %s is refused by name', (key) => {
    const map = mapOf(encoded);
    map.delete(key);
    expect(() => read(encode(map))).toThrow(malformed);
    expect(() => read(encode(map))).toThrow(new RegExp(key));
  });

  test('with any value of another type is refused', () => {
    for (const key of required) {
      const map = mapOf(encoded);
      map.set(key, new Map([['nobody', 'expects']]));
      if (key === 'profiles' || key === 'capabilities') map.set(key, 5);
      expect(() => read(encode(map))).toThrow(malformed);
    }
  });

  test('ignores a key that it does not know', () => {
    expect(read(encode(mapOf(encoded).set('novelty', true)))).toEqual(value);
  });

  test('that is no map, or no CBOR, is refused', () => {
    expect(() => read(encode([1]))).toThrow(malformed);
    expect(() => read(Uint8Array.of(0xff))).toThrow(
      expect.objectContaining({ code: 'ERR_CBOR_MALFORMED' }),
    );
  });
});

test.each<[string, readonly CborValue[]]>([
  ['no gap', []],
  ['a gap that ends before it begins', [[1, seed, 5, 4, 'x']]],
  ['a gap with a negative seq', [[1, seed, -1, 4, 'x']]],
  ['a gap with a seed of five bytes', [[1, new Uint8Array(5), 1, 4, 'x']]],
  ['257 gaps', Array.from({ length: 257 }, (_, i) => [1, seed, i, i, 'x'])],
])('a gap message with %s is refused', (_name, gaps) => {
  expect(() => decodeGap(encode({ gaps }))).toThrow(malformed);
});

test('a reject whose code is not a code is refused', () => {
  expect(() => decodeReject(encode({ ...reject, code: 'oops' } as unknown as CborValue))).toThrow(
    malformed,
  );
});

test('tuples may grow at their end', () => {
  const gaps = [[1, seed, 2, 5, 'outbox-full', 'novelty']];
  expect(decodeGap(encode({ gaps })).gaps[0]).toEqual([1, seed, 2, 5, 'outbox-full']);
});

describe('limits of envelope.md 1.3', () => {
  const nested = (levels: number): CborValue => (levels === 0 ? 1 : [nested(levels - 1)]);

  test('16 levels of nesting are read and 17 are not', () => {
    // The map and `detail` are two levels.
    const event = (levels: number) => encodeEvent({ event: 'x', detail: { a: nested(levels) } });
    expect(decodeEvent(event(14)).event).toBe('x');
    expect(() => decodeEvent(event(15))).toThrow(
      expect.objectContaining({ code: 'ERR_CBOR_LIMIT' }),
    );
  });

  test('more than 40,000 items are not read', () => {
    const detail = { a: new Array<number>(40_000).fill(0) };
    expect(() => decodeEvent(encodeEvent({ event: 'x', detail }))).toThrow(
      expect.objectContaining({ code: 'ERR_CBOR_LIMIT' }),
    );
  });
});
