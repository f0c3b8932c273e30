import { fromHex, toHex } from '@fieldproof/protocol/bytes';
import {
  CborCursor,
  type CborValue,
  CborWriter,
  type DecodeOptions,
  decode,
  decodeItem,
  diagnose,
  encode,
  Float,
  Simple,
  Tagged,
} from '@fieldproof/protocol/cbor';
import { describe, expect, test } from '@jest/globals';
import { vectors } from './vectors.ts';

interface AppendixA {
  readonly diagnostic: string;
  readonly hex: string;
  readonly deterministic?: string;
}

const lenient: DecodeOptions = { strict: false, keepFloats: true };
const code = (name: string) => expect.objectContaining({ code: `ERR_CBOR_${name}` });

describe('RFC 8949 Appendix A', () => {
  const rows = vectors<AppendixA[]>('cbor/rfc8949-appendix-a.json');
  test.each(rows.filter((row) => !row.deterministic))('$hex is $diagnostic', (row) => {
    const value = decode(fromHex(row.hex), { keepFloats: true });
    expect(diagnose(value)).toBe(row.diagnostic);
    expect(toHex(encode(value))).toBe(row.hex);
  });
  test.each(rows.filter((row) => row.deterministic))('$hex is not deterministic', (row) => {
    expect(() => decode(fromHex(row.hex))).toThrow(code('NOT_DETERMINISTIC'));
    expect(toHex(encode(decode(fromHex(row.hex), lenient)))).toBe(row.deterministic);
  });
});

describe('encoding', () => {
  const keys: readonly CborValue[] = [[-1], 'aa', -1, false, 100, 'z', 10, [100]];
  const cases: readonly (readonly [CborValue, string])[] = [
    // The order of RFC 8949 section 4.2.1.
    [new Map(keys.map((key) => [key, 0])), 'a80a0018640020006 17a00626161008118640081200 0f400'],
    [{ b: 1, a: 2, aa: undefined }, 'a2616102616201'],
    [[undefined, null], '82f7f6'],
    [2 ** 53 - 1, '1b001fffffffffffff'],
    [-(2 ** 53 - 1), '3b001ffffffffffffe'],
    [2n ** 53n, '1b0020000000000000'],
    [-(2n ** 64n), '3bffffffffffffffff'],
    [5n, '05'],
    [new Tagged(2, fromHex('0001')), '01'],
    [new Tagged(3n, fromHex('')), '20'],
    [new Tagged(2n ** 64n - 1n, 0), 'dbffffffffffffffff00'],
    [new Float(2 ** 60), 'fa5d800000'],
    [new Simple(32), 'f820'],
    [`${'x'.repeat(23)}ü`, `7819${'78'.repeat(23)}c3bc`],
    ['ü'.repeat(12), `7818${'c3bc'.repeat(12)}`],
    ['水'.repeat(64), `78c0${'e6b0b4'.repeat(64)}`],
    ['水'.repeat(90), `79010e${'e6b0b4'.repeat(90)}`],
    ['\ufeffa', '64efbbbf61'],
    [2 ** -24, 'f90001'],
    [2 ** -25, 'fa33000000'],
    [100000.5, 'fa47c35040'],
    [Buffer.from('01', 'hex'), '4101'],
  ];
  test.each(cases)('%p', (value, spaced) => {
    const hex = spaced.replaceAll(' ', '');
    expect(toHex(encode(value))).toBe(hex);
    expect(toHex(encode(decode(fromHex(hex), { keepFloats: true })))).toBe(hex);
  });

  const cycle: CborValue[] = [];
  cycle.push(cycle);
  const refused: readonly (readonly [string, unknown, string])[] = [
    [
      'a duplicate key',
      new Map<unknown, unknown>([
        [1, 0],
        [1n, 0],
      ]),
      'duplicate map key',
    ],
    [
      'an equal array as key',
      new Map([
        [[1], 0],
        [[1], 0],
      ]),
      'duplicate map key',
    ],
    ['a function', () => 0, 'cannot encode a function'],
    ['a symbol', [Symbol('s')], 'cannot encode a symbol'],
    ['a lone high surrogate', 'a\ud800', 'lone surrogate'],
    ['a lone low surrogate', '\udc00a', 'lone surrogate'],
    ['a lone surrogate in a long text', `${'a'.repeat(100)}\ud800`, 'lone surrogate'],
    ['an unsafe integer', 2 ** 53, 'expected a safe integer, got 9007199254740992'],
    ['a date', new Date(0), 'cannot encode an object of class Date'],
    ['another typed array', new Uint16Array(1), 'cannot encode an object of class Uint16Array'],
    ['a cycle', cycle, 'nested deeper than 1024, or a cycle'],
  ];
  test.each(refused)('refuses %s', (_, value, message) => {
    expect(() => encode(value as CborValue)).toThrow(message);
    expect(() => encode(value as CborValue)).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT' }),
    );
    expect(toHex(encode(1))).toBe('01');
  });
  test.each([20, 31, 256, -1, 1.5])('there is no simple value %d', (value) => {
    expect(() => new Simple(value)).toThrow('simple: expected 0..19 or 32..255');
  });
  test.each([-1, 1.5, 2 ** 53, 2n ** 64n])('there is no tag %p', (tag) => {
    expect(() => new Tagged(tag, 0)).toThrow('tag: expected an integer in 0..2^64-1');
  });
  test('survives a getter that encodes, and gives each its own bytes', () => {
    const inner: Uint8Array[] = [];
    const outer = encode({
      get a() {
        inner.push(encode('inner'));
        return 1;
      },
      b: 'outer',
    });
    expect(toHex(outer)).toBe('a2616101616265' + '6f75746572');
    expect(toHex(inner[0]!)).toBe('65696e6e6572');
  });
});

describe('decoding', () => {
  test('gives numbers, bigints, views and Maps', () => {
    const bytes = fromHex('a3001b0020000000000000014201021840f93c00');
    const map = decode(bytes) as Map<CborValue, CborValue>;
    expect(map).toEqual(
      new Map<CborValue, CborValue>([
        [0, 2n ** 53n],
        [1, fromHex('0102')],
        [64, 1],
      ]),
    );
    expect((map.get(1) as Uint8Array).buffer).toBe(bytes.buffer);
    expect(decode(fromHex('3b001fffffffffffff'))).toBe(-(2n ** 53n));
    expect(decode(fromHex('3b001ffffffffffffe'))).toBe(-(2 ** 53 - 1));
  });
  test('keeps 1 and 1.0 apart as keys', () => {
    const map = decode(fromHex('a20100f93c0000')) as Map<CborValue, CborValue>;
    expect([...map.keys()]).toEqual([1, new Float(1)]);
    expect(toHex(encode(map))).toBe('a20100f93c0000');
  });
  test('keeps a byte order mark', () => {
    expect(decode(fromHex('64efbbbf61'))).toBe('\ufeffa');
    expect(decode(fromHex(`7823${'61'.repeat(32)}efbbbf`))).toBe(`${'a'.repeat(32)}\ufeff`);
  });
  test('gives bignums as Tagged, or as integers on request', () => {
    const bytes = fromHex('c249010000000000000000');
    expect(decode(bytes)).toEqual(new Tagged(2, fromHex('010000000000000000')));
    expect(decode(bytes, { bignums: true })).toBe(2n ** 64n);
    expect(decode(fromHex('c34105'), { strict: false, bignums: true })).toBe(-6);
  });
  test('knows __proto__ as an ordinary key', () => {
    const map = decode(encode(new Map([['__proto__', 1]]))) as Map<CborValue, CborValue>;
    expect(map.get('__proto__')).toBe(1);
  });
  test('reads one item of a sequence through a cursor', () => {
    const cursor = new CborCursor(fromHex('82010203'));
    expect(decodeItem(cursor)).toEqual([1, 2]);
    expect(cursor.offset).toBe(3);
    expect(decodeItem(cursor)).toBe(3);
    expect(cursor.done).toBe(true);
    expect(() => decodeItem(cursor)).toThrow('expected an item, got the end, at byte 4');
  });

  const notDeterministic = [
    '1817',
    '190017',
    '1900ff',
    '1a0000ffff',
    '1b00000000ffffffff',
    '3817',
    '5801' + '00',
    '780161',
    '980100',
    'b8010000',
    'd81200',
    'f97e01',
    'f9fe00',
    'fa3f800000',
    'fa7fc00000',
    'fb3ff0000000000000',
    'fb7ff8000000000001',
    '5f4100ff',
    '7f6161ff',
    '9fff',
    'bfff',
    'a202000100',
    'a2616200616100',
    'a261610020' + '00',
    'c24101',
    'c2490001000000000000' + '00',
  ];
  test.each(notDeterministic)(
    '%s is refused as not deterministic, and taken without strictness',
    (hex) => {
      expect(() => decode(fromHex(hex))).toThrow(code('NOT_DETERMINISTIC'));
      const again = encode(decode(fromHex(hex), lenient));
      expect(toHex(encode(decode(again, { keepFloats: true })))).toBe(toHex(again));
    },
  );

  // RFC 8949 Appendix F, and what section 3 calls not well-formed or section 5 not valid.
  const malformed = [
    '',
    '18',
    '19',
    '1a',
    '1b',
    '1901',
    '1a0102',
    '1b01020304050607',
    '38',
    '58',
    '78',
    '98',
    '9a01ff00',
    'b8',
    'd8',
    'f8',
    'f900',
    'fa0000',
    'fb000000',
    '41',
    '61',
    '5affffffff00',
    '5bffffffffffffffff010203',
    '7affffffff00',
    '7b7fffffffffffffff010203',
    '81',
    '818181818181818181',
    '8200',
    'a1',
    'a20102',
    'a100',
    'a2000000',
    'c0',
    '9bffffffffffffffff',
    'bbffffffffffffffff',
    '1c',
    '1d',
    '1e',
    '3c',
    '3d',
    '3e',
    '5c',
    '5d',
    '5e',
    '7c',
    '7d',
    '7e',
    '9c',
    '9d',
    '9e',
    'bc',
    'bd',
    'be',
    'dc',
    'dd',
    'de',
    'fc',
    'fd',
    'fe',
    'f800',
    'f801',
    'f818',
    'f81f',
    'ff',
    '81ff',
    '8200ff',
    'a1ff',
    'a1ff00',
    'a100ff',
    'a20000ff',
    'c0ff',
    '1f',
    '3f',
    'df',
    '0000',
    '8000',
    '61c0',
    '61ff',
    '62c080',
    '63eda080',
    '64f4908080',
    '62c328',
    `7840${'61'.repeat(63)}ff`,
    'a201000100',
    'a2616100616100',
    'a2f93c0000f93c0000',
    'a2810000810000',
    'a240004000',
  ];
  const malformedLenient = [
    '5f4100',
    '7f6100',
    '9f',
    '9f0102',
    'bf',
    'bf01020102',
    '9f8000',
    '5f00ff',
    '5f21ff',
    '5f6100ff',
    '5f80ff',
    '5fa0ff',
    '5fc000ff',
    '5fe0ff',
    '7f4100ff',
    '5f5f4100ffff',
    '7f7f6100ffff',
    'bf00ff',
    'bf000000ff',
    '9fff00',
    '7f61c361a8ff',
    '9f819f819f9fffffff',
    '9fffff',
    'a2010018010 0',
    'bf61610061 6100ff',
    'a2fa3f80000000f93c0000',
    'a281180000810000',
    'a2c2410100' + '0100',
  ].map((hex) => hex.replaceAll(' ', ''));
  test.each(malformed)('%p is refused as malformed', (hex) => {
    expect(() => decode(fromHex(hex))).toThrow(code('MALFORMED'));
    expect(() => decode(fromHex(hex), lenient)).toThrow(code('MALFORMED'));
  });
  test.each(malformedLenient)('%p is refused as malformed without strictness', (hex) => {
    expect(() => decode(fromHex(hex))).toThrow(
      expect.objectContaining({ code: expect.stringMatching(/^ERR_CBOR_/) }),
    );
    expect(() => decode(fromHex(hex), lenient)).toThrow(code('MALFORMED'));
  });

  test.each([
    ['82011817', 'cbor: integer not in its shortest form, at byte 2'],
    ['8201fa3f800000', 'cbor: float not in its shortest form, at byte 2'],
    ['820143', 'cbor: string of 3 bytes, 0 left, at byte 2'],
    ['820162c328', 'cbor: text is not valid UTF-8, at byte 2'],
    ['8201a200000000', 'cbor: duplicate map key, at byte 5'],
    ['8201a201000000', 'cbor: map keys not sorted, at byte 5'],
    ['0102', 'cbor: 1 bytes after the item, at byte 1'],
    ['9a00010000', 'cbor: 65536 items, 0 bytes left, at byte 0'],
    ['81fc', 'cbor: reserved additional information 28, at byte 1'],
    ['82019fff', 'cbor: indefinite length, at byte 2'],
  ])('%s: %s', (hex, message) => {
    expect(() => decode(fromHex(hex))).toThrow(message);
  });

  test('nesting is limited, and deep nesting does not overflow the stack', () => {
    const nested = (depth: number, head = 0x81) => {
      const bytes = new Uint8Array(depth + 1).fill(head);
      bytes[depth] = 0;
      return bytes;
    };
    expect(decode(nested(32))).toBeDefined();
    expect(() => decode(nested(33))).toThrow('cbor: nested deeper than 32, at byte 32');
    expect(decode(nested(1024), { maxDepth: 1024 })).toBeDefined();
    for (const head of [0x81, 0xc1, 0x9f]) {
      expect(() => decode(nested(1_000_000, head), lenient)).toThrow(code('LIMIT'));
    }
    expect(() => decode(nested(1), { maxDepth: 0 })).toThrow(code('LIMIT'));
    expect(() => decode(nested(1), { maxDepth: 1025 })).toThrow('maxDepth: expected 0..1024');
  });
  test('the number of items is limited, keys and chunks included', () => {
    expect(decode(fromHex('83010203'), { maxItems: 4 })).toEqual([1, 2, 3]);
    expect(() => decode(fromHex('83010203'), { maxItems: 3 })).toThrow(code('LIMIT'));
    expect(() => decode(fromHex('a10102'), { maxItems: 2 })).toThrow(code('LIMIT'));
    expect(() => decode(fromHex('5f40404040ff'), { ...lenient, maxItems: 4 })).toThrow(
      code('LIMIT'),
    );
    const chunks = new Uint8Array(200_002).fill(0x40);
    chunks[0] = 0x5f;
    chunks[200_001] = 0xff;
    expect(decode(chunks, lenient)).toEqual(new Uint8Array(0));
  });
  test('takes a Uint8Array only', () => {
    for (const bad of ['00', undefined, [0], new ArrayBuffer(1)] as never[]) {
      expect(() => decode(bad)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
    }
  });
});

test('a large map in the wrong order is sorted as a small one is', () => {
  const keys = Array.from({ length: 2000 }, (_, i) => 2000 - i);
  const shuffled = encode(new Map(keys.map((key) => [key, 'x'.repeat(key % 50)])));
  keys.reverse();
  expect(shuffled).toEqual(encode(new Map(keys.map((key) => [key, 'x'.repeat(key % 50)]))));
  expect((decode(shuffled) as Map<CborValue, CborValue>).size).toBe(2000);
});

test('diagnostic notation shows floats as floats and bignums as integers', () => {
  const hex = 'a20183f93c00c249010000000000000000f66161d8204101';
  expect(diagnose(decode(fromHex(hex), { keepFloats: true }))).toBe(
    `{1: [1.0, 18446744073709551616, null], "a": 32(h'01')}`,
  );
  expect(diagnose([-0, 1e21, new Tagged(2, fromHex('02')), { x: 1.5, y: undefined }])).toBe(
    `[-0.0, 1.0e+21, 2(h'02'), {"x": 1.5}]`,
  );
});

test('a writer puts items one after the other, in their shortest form', () => {
  const writer = new CborWriter();
  writer.head(4, 5);
  writer.integer(-500);
  writer.float(1.5);
  writer.text('ü');
  writer.byteString(new Uint8Array(2000));
  writer.raw(encode([1n]));
  expect(writer.finish()).toEqual(encode([-500, 1.5, 'ü', new Uint8Array(2000), [1]]));
});

test('a cursor walks heads without building values', () => {
  const cursor = new CborCursor(fromHex('a2011b001fffffffffffff026161f93e00'));
  cursor.next();
  expect([cursor.major, cursor.argument]).toEqual([5, 2]);
  cursor.next();
  cursor.next();
  expect([cursor.major, cursor.argument]).toEqual([0, 2 ** 53 - 1]);
  cursor.next();
  cursor.next();
  expect(cursor.text()).toBe('a');
  cursor.next();
  expect([cursor.major, cursor.info, cursor.float()]).toEqual([7, 25, 1.5]);
  const big = new CborCursor(fromHex('1bffffffffffffffff'));
  big.next();
  expect([big.argument, big.bigArgument()]).toEqual([-1, 2n ** 64n - 1n]);
});
