import { type CborValue, encode, Float, Tagged } from '@fieldproof/protocol/cbor';
import { columnsToSenml, decodeColumns } from '@fieldproof/protocol/columns';
import { TYPED_ARRAY_TAGS, writeTypedArray } from '@fieldproof/protocol/columns-typed-array';
import { describe, expect, test } from '@jest/globals';

const T0 = 1780000000;
const u8 = (...bytes: number[]) => new Tagged(64, Uint8Array.from(bytes));
const temp = ['temp', 'Cel', -2, 2100, u8(53, 60)];
const block = ['air', T0, [1, 2], [temp]];

const decodeBlocks = (...blocks: unknown[]) => decodeColumns(encode(blocks as CborValue));
const senml = (...blocks: unknown[]) => columnsToSenml(decodeBlocks(...blocks));
const codeOf = (run: () => unknown): unknown => {
  try {
    run();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return 'accepted';
};
const values = (column: unknown[], count = 2) => {
  const { values: all } = decodeBlocks(['air', T0, [1, count], [column]]);
  return [...all.subarray(0, count)];
};

describe('a columns payload', () => {
  test('stands for SenML records in block, column, instant order', () => {
    expect(
      senml(block, [
        'p',
        -5,
        [0, 1],
        [
          ['n', '', 0, 0, u8(7)],
          ['m', '', 0, -8, u8(7)],
        ],
      ]),
    ).toEqual([
      { n: 'air/temp', u: 'Cel', t: T0, v: 21.53 },
      { n: 'air/temp', u: 'Cel', t: T0 + 1, v: 21.6 },
      { n: 'p/n', t: -5, v: 7 },
      { n: 'p/m', t: -5, v: -1 },
    ]);
  });

  test('reads every typed array that the specification names', () => {
    for (const row of TYPED_ARRAY_TAGS) {
      const elements =
        row.kind === 'float' ? [1.5, -0] : row.kind === 'signed' ? [-2, 100] : [1, 200];
      const bytes = writeTypedArray(row, elements);
      // Written big-endian; turn each element for the little-endian tags.
      if (row.littleEndian)
        for (let i = 0; i < 2; i++) bytes.subarray(i * row.bytes, (i + 1) * row.bytes).reverse();
      const exponent = row.kind === 'float' ? null : 0;
      expect(values(['m', '', exponent, 0, new Tagged(row.tag, bytes)])).toEqual(elements);
    }
  });

  test('rounds (base + element) · 10^exponent once', () => {
    expect(values(['m', '', -1, 0, u8(3, 7)])).toEqual([0.3, 0.7]);
    expect(values(['m', '', 18, 1, u8(0, 8)])).toEqual([1e18, 9e18]);
    expect(values(['m', '', 0, 2n ** 53n - 5n, u8(0, 5)])).toEqual([2 ** 53 - 5, 2 ** 53]);
  });

  test('takes instants as step and count, with decimal start and step', () => {
    const start = new Tagged(4, [-3, T0 * 1000 + 250]);
    const { timesUs } = decodeBlocks([
      'air',
      start,
      [new Tagged(4, [-1, 1]), 3],
      [['m', '', 0, 0, u8(1, 2, 3)]],
    ]);
    expect([...timesUs.subarray(0, 3)]).toEqual(
      [250000, 350000, 450000].map((us) => T0 * 1e6 + us),
    );
  });

  test('takes instants as milliseconds after the start, in any order', () => {
    const times = new Tagged(65, Uint8Array.of(0, 10, 0, 0, 1, 0));
    const { timesUs } = decodeBlocks(['air', T0, times, [['m', '', 0, 0, u8(1, 2, 3)]]]);
    expect([...timesUs.subarray(0, 3)]).toEqual([10000, 0, 256000].map((us) => T0 * 1e6 + us));
  });

  test('rounds an instant to the µs once, however fine the step', () => {
    const { timesUs } = decodeBlocks([
      'a',
      new Tagged(4, [-18, 9]),
      [new Tagged(4, [-7, 15]), 3],
      [['m', '', 0, 0, u8(1, 2, 3)]],
    ]);
    // 0.000009 µs, 1.500009 µs, 3.000009 µs
    expect([...timesUs.subarray(0, 3)]).toEqual([0, 2, 3]);
  });

  test('takes a metric again at other instants', () => {
    expect(senml(block, ['air', T0 + 2, [1, 2], [temp]])).toHaveLength(4);
    expect(senml(block, ['other', T0, [1, 2], [temp]])).toHaveLength(4);
  });

  const f64 = (...xs: number[]) => new Tagged(82, writeTypedArray(TYPED_ARRAY_TAGS[10]!, xs));
  const withColumn = (...column: unknown[]) => [['air', T0, [1, 2], [column]]];
  const withTimes = (times: unknown) => [['air', T0, times, [temp]]];
  test.each<[string, unknown]>([
    ['no array', 1],
    ['no block', []],
    ['a block of three', [block.slice(0, 3)]],
    ['a block of five', [[...block, 1]]],
    ['a profile with a capital', [['Air', ...block.slice(1)]]],
    ['a profile of 33 characters', [['a'.repeat(33), ...block.slice(1)]]],
    ['a profile that is no text', [[1, ...block.slice(1)]]],
    ['a float as start', [['air', new Float(T0 + 0.5), ...block.slice(2)]]],
    ['a text as start', [['air', 'now', ...block.slice(2)]]],
    ['a bignum as start', [['air', 2n ** 70n, ...block.slice(2)]]],
    ['a start before -2^28', [['air', -(2 ** 28), ...block.slice(2)]]],
    ['a start beyond the year 9999', [['air', 253402300800, ...block.slice(2)]]],
    ['instants that run beyond the year 9999', [['air', 253402300798, [2, 2], [temp]]]],
    ['times of one item', withTimes([1])],
    ['times of three items', withTimes([1, 2, 3])],
    ['a negative step', withTimes([-1, 2])],
    ['a step of zero for two instants', withTimes([0, 2])],
    ['a float step', withTimes([new Float(0.5), 2])],
    ['a count of zero', withTimes([1, 0])],
    ['a fractional count', withTimes([1, new Float(2)])],
    ['a count of 5,001', withTimes([1, 5001])],
    ['another count than elements', withTimes([1, 3])],
    ['signed times', withTimes(new Tagged(72, Uint8Array.of(0, 1)))],
    ['float times', withTimes(f64(0, 1))],
    ['an instant twice', withTimes(u8(5, 5))],
    ['an empty typed array of times', withTimes(u8())],
    ['times under another tag', withTimes(new Tagged(68, Uint8Array.of(0, 1)))],
    ['no column', [['air', T0, [1, 2], []]]],
    ['columns that are no array', [['air', T0, [1, 2], 'x']]],
    ['a column of four', withColumn(...temp.slice(0, 4))],
    ['a column of six', withColumn(...temp, 1)],
    ['an empty metric', withColumn('', 'Cel', -2, 0, u8(1, 2))],
    ['a metric with a space', withColumn('a b', 'Cel', -2, 0, u8(1, 2))],
    ['a unit that is no text', withColumn('m', null, -2, 0, u8(1, 2))],
    ['an exponent of 19', withColumn('m', '', 19, 0, u8(1, 2))],
    ['a float exponent', withColumn('m', '', new Float(1), 0, u8(1, 2))],
    ['a float base', withColumn('m', '', 0, new Float(1), u8(1, 2))],
    ['a base beyond 2^53', withColumn('m', '', 0, 2n ** 53n + 1n, u8(1, 2))],
    ['a sum beyond 2^53', withColumn('m', '', 0, 2n ** 53n - 1n, u8(1, 2))],
    [
      'a sum below -2^53',
      withColumn('m', '', 0, -(2n ** 53n), new Tagged(72, Uint8Array.of(0, 255))),
    ],
    ['integers beside exponent null', withColumn('m', '', null, 0, u8(1, 2))],
    ['floats beside an exponent', withColumn('m', '', 0, 0, f64(1, 2))],
    ['a base beside exponent null', withColumn('m', '', null, 1, f64(1, 2))],
    ['NaN', withColumn('m', '', null, 0, f64(1, Number.NaN))],
    ['an infinity', withColumn('m', '', null, 0, f64(1, Number.POSITIVE_INFINITY))],
    ['a typed array under tag 67', withColumn('m', '', 0, 0, new Tagged(67, new Uint8Array(16)))],
    ['half an element', withColumn('m', '', 0, 0, new Tagged(65, new Uint8Array(3)))],
    ['a text in a typed array', withColumn('m', '', 0, 0, new Tagged(64, 'ab'))],
    ['a plain array of values', withColumn('m', '', 0, 0, [1, 2])],
    ['fewer elements than instants', withColumn('m', '', 0, 0, u8(1))],
    ['more elements than instants', withColumn('m', '', 0, 0, u8(1, 2, 3))],
    ['a metric twice in a block', [['air', T0, [1, 2], [temp, temp]]]],
    ['a metric twice at an instant, over two blocks', [block, ['air', T0 + 1, [1, 2], [temp]]]],
    [
      'a metric twice at an instant, over three blocks',
      [block, ['air', T0 + 2, [1, 2], [temp]], ['air', T0 + 3, [1, 2], [temp]]],
    ],
    ['65 profiles', Array.from({ length: 65 }, (_, i) => [`p${i}`, ...block.slice(1)])],
    [
      '5,001 readings',
      [
        [
          'air',
          T0,
          [1, 1667],
          ['a', 'b', 'c'].map((m) => [m, '', 0, 0, new Tagged(64, new Uint8Array(1667))]),
        ],
      ],
    ],
  ])('with %s is refused', (_, payload) => {
    expect(codeOf(() => decodeColumns(encode(payload as CborValue)))).toBe('ERR_COLUMNS_MALFORMED');
  });

  test('cut short anywhere is refused', () => {
    const good = encode([block] as CborValue);
    for (let i = 0; i < good.length; i++) {
      expect(codeOf(() => decodeColumns(good.subarray(0, i)))).toBe('ERR_CBOR_MALFORMED');
    }
  });

  test('that is not deterministic is refused by that code', () => {
    const good = [...encode([block] as CborValue)];
    const long = Uint8Array.from([0x98, 0x01, ...good.slice(1)]);
    expect(codeOf(() => decodeColumns(long))).toBe('ERR_CBOR_NOT_DETERMINISTIC');
  });
});
