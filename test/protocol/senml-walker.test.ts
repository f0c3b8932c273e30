import { isDeepStrictEqual } from 'node:util';
import { fromHex } from '@fieldproof/protocol/bytes';
import { encode, Float, Tagged } from '@fieldproof/protocol/cbor';
import { checkTelemetry } from '@fieldproof/protocol/readings-decode';
import type { DecodedReadings } from '@fieldproof/protocol/readings-sink';
import { decodeSenmlCbor } from '@fieldproof/protocol/senml-cbor';
import { readingsFromSenml } from '@fieldproof/protocol/senml-readings';
import { SenmlWalker } from '@fieldproof/protocol/senml-walker';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { anyPack, mutate, mutations, steadyPack, validPack } from './senml-packs.ts';

const walker = new SenmlWalker();

/** Everything a sink says, in comparable form; -0 and 0 differ. */
function show({ count, runs, timesUs, values, objects }: DecodedReadings): unknown {
  return {
    count,
    runs: structuredClone(runs),
    timesUs: [...timesUs.subarray(0, count)],
    values: [...values.subarray(0, count)],
    objects: objects.map(String),
  };
}

function outcome(read: () => DecodedReadings): unknown {
  try {
    return show(read());
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === undefined || code === 'ERR_ARGUMENT') throw error;
    return 'refused';
  }
}

function bothReaders(bytes: Uint8Array): { fast: unknown; plain: unknown } {
  return {
    fast: outcome(() => walker.walk(bytes)),
    plain: outcome(() => readingsFromSenml(decodeSenmlCbor(bytes, { strict: true }))),
  };
}

const pack = (...records: [unknown, unknown][][]) =>
  encode(records.map((r) => new Map(r)) as never);
const codeOf = (run: () => unknown): unknown => {
  try {
    return run();
  } catch (error) {
    return (error as { code: string }).code;
  }
};

/** As `toEqual`, in a fraction of the time where they are. */
function expectSame(fast: unknown, plain: unknown): void {
  if (!isDeepStrictEqual(fast, plain)) expect(fast).toEqual(plain);
}

describe('the fast SenML reader', () => {
  test('accepts valid packs with the readings of the plain reader', () => {
    fc.assert(
      fc.property(validPack, (bytes) => {
        const { fast, plain } = bothReaders(bytes);
        expect(plain).not.toBe('refused');
        expectSame(fast, plain);
      }),
      { numRuns: 400 },
    );
  });

  test('accepts and refuses what the plain reader does, whatever the pack', () => {
    fc.assert(
      fc.property(anyPack, (bytes) => {
        const { fast, plain } = bothReaders(bytes);
        expectSame(fast, plain);
      }),
      { numRuns: 4000 },
    );
  });

  test('accepts and refuses what the plain reader does, whatever byte changed', () => {
    fc.assert(
      fc.property(fc.oneof(validPack, anyPack), mutations, (bytes, steps) => {
        const { fast, plain } = bothReaders(mutate(bytes, steps));
        expectSame(fast, plain);
      }),
      { numRuns: 6000 },
    );
  });

  test('reads records of value and time alone as the plain reader does, whole, cut and changed', () => {
    let accepted = 0;
    fc.assert(
      fc.property(steadyPack, fc.nat(), mutations, (bytes, cut, steps) => {
        for (const each of [bytes, bytes.subarray(0, cut % bytes.length), mutate(bytes, steps)]) {
          const { fast, plain } = bothReaders(each);
          expectSame(fast, plain);
          if (plain !== 'refused') accepted++;
        }
      }),
      { numRuns: 4000 },
    );
    expect(accepted).toBeGreaterThan(1000);
  });

  test('reads the numbers of a run up to the limit of items and no further', () => {
    const first = [
      [-2, 'a'],
      [-3, 1780000000],
      [2, 1],
    ] as [unknown, unknown][];
    const steady = [
      [2, new Tagged(4, [-1, 15])],
      [6, 1],
    ] as [unknown, unknown][];
    // 1 + 7 items, then 8 for each.
    const most = pack(first, ...Array.from({ length: 4999 }, () => steady));
    const { fast, plain } = bothReaders(most);
    expect(fast).toEqual(plain);
    expect(walker.walk(most).count).toBe(5000);
    const more = [
      [2, 1],
      [6, 1],
      [9, [1, 2]],
    ] as [unknown, unknown][];
    const tooMany = pack(
      first,
      ...Array.from({ length: 10 }, () => more),
      ...Array.from({ length: 4989 }, () => steady),
    );
    expect(bothReaders(tooMany).fast).toBe('refused');
    expect(bothReaders(tooMany).plain).toBe('refused');
  });

  test('refuses every truncation of a good payload', () => {
    const good = pack([
      [0, 'air/temp'],
      [1, 'Cel'],
      [2, new Tagged(4, [-2, 2153])],
      [-3, 1780000000],
    ]);
    for (let i = 0; i < good.length; i++) {
      expect(codeOf(() => walker.walk(good.subarray(0, i)))).toBe('ERR_CBOR_MALFORMED');
    }
  });

  test('adds decimals exactly and doubles as doubles', () => {
    const bytes = pack(
      [
        [-2, 'air/t'],
        [-5, 21],
        [2, new Tagged(4, [-2, 53])],
      ],
      [
        [2, new Float(0.1)],
        [-5, new Float(0.7)],
      ],
    );
    const { values } = walker.walk(bytes);
    expect([values[0], values[1]]).toEqual([21.53, 0.7 + 0.1]);
  });

  test('refuses payloads that are not deterministic by that code', () => {
    // keys 2, 0 instead of 0, 2; an integer in two bytes; a double where a half suffices
    for (const hex of [
      '81a202010061 61'.replace(' ', ''),
      '81a2006161021801',
      '81a2006161 02fb3ff8000000000000'.replace(' ', ''),
    ]) {
      expect(codeOf(() => walker.walk(fromHex(hex)))).toBe('ERR_CBOR_NOT_DETERMINISTIC');
    }
  });

  test.each([
    [
      'an absolute time beyond the year 9999',
      [
        [0, 'a'],
        [2, 1],
        [6, 253402300800],
      ],
    ],
    [
      'a time before -2^28',
      [
        [0, 'a'],
        [2, 1],
        [6, -(2 ** 28)],
      ],
    ],
    [
      'NaN',
      [
        [0, 'a'],
        [2, new Float(Number.NaN)],
      ],
    ],
    [
      'an infinity',
      [
        [0, 'a'],
        [2, new Float(Number.NEGATIVE_INFINITY)],
      ],
    ],
    [
      'a bignum',
      [
        [0, 'a'],
        [2, 2n ** 70n],
      ],
    ],
    [
      'an exponent of 19',
      [
        [0, 'a'],
        [2, new Tagged(4, [19, 1])],
      ],
    ],
    [
      'a mantissa beyond 2^53',
      [
        [0, 'a'],
        [2, new Tagged(4, [1, 2n ** 53n + 1n])],
      ],
    ],
    [
      'a name of another alphabet',
      [
        [0, 'air/tmp#'],
        [2, 1],
      ],
    ],
    [
      'a metric of 65 characters',
      [
        [0, `air/${'m'.repeat(65)}`],
        [2, 1],
      ],
    ],
    [
      'a profile without metric',
      [
        [0, 'air/'],
        [2, 1],
      ],
    ],
    [
      'two values',
      [
        [0, 'a'],
        [2, 1],
        [3, 'x'],
      ],
    ],
    [
      'a version above 10',
      [
        [0, 'a'],
        [2, 1],
        [-1, 11],
      ],
    ],
    [
      'a label that must be understood',
      [
        [0, 'a'],
        [2, 1],
        ['x_', 1],
      ],
    ],
  ] as [string, [unknown, unknown][]][])('refuses %s', (_, record) => {
    expect(codeOf(() => walker.walk(pack(record)))).toBe('ERR_SENML_MALFORMED');
  });

  test('takes a name whose first part is no profile as a metric of profile readings', () => {
    const { runs } = walker.walk(
      pack(
        [
          [0, 'urn:dev:ow:1/temp'],
          [2, 1],
        ],
        [
          [0, 'temp'],
          [2, 1],
        ],
      ),
    );
    expect(runs.map(({ profile, metric }) => [profile, metric])).toEqual([
      ['readings', 'urn:dev:ow:1/temp'],
      ['readings', 'temp'],
    ]);
  });

  test('takes 64 profiles and 5,000 readings, and refuses one more', () => {
    const profiles = (n: number) =>
      pack(
        ...Array.from(
          { length: n },
          (_, i) =>
            [
              [0, `p${i}/x`],
              [2, 1],
            ] as [unknown, unknown][],
        ),
      );
    expect(walker.walk(profiles(64)).count).toBe(64);
    expect(codeOf(() => walker.walk(profiles(65)))).toBe('ERR_SENML_MALFORMED');
    const readings = (n: number) =>
      pack(
        ...Array.from(
          { length: n },
          (_, i) =>
            (i === 0
              ? [
                  [-2, 'a'],
                  [2, 1],
                ]
              : [[2, i]]) as [unknown, unknown][],
        ),
      );
    expect(walker.walk(readings(5000)).count).toBe(5000);
    expect(codeOf(() => walker.walk(readings(5001)))).toBe('ERR_SENML_MALFORMED');
  });

  test('refuses more than 40,000 items and 16 levels, as the plain reader does', () => {
    const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)]);
    const around = (value: unknown) =>
      pack([
        [0, 'a'],
        [2, 1],
        ['x', value],
      ]);
    expect(codeOf(() => walker.walk(around(nested(14))).count)).toBe(1);
    expect(codeOf(() => walker.walk(around(nested(15))))).toBe('ERR_CBOR_LIMIT');
    // pack, record, six for the fields, array: 9 items beside the elements' count less the value itself
    for (const [length, ok] of [
      [39_992, true],
      [39_991, true],
      [39_993, false],
      [41_000, false],
    ] as const) {
      const bytes = around(new Array(length).fill(0));
      const { fast, plain } = bothReaders(bytes);
      expect(fast).toEqual(plain);
      expect(fast !== 'refused').toBe(ok);
    }
  });

  test('summarises times for a gate', () => {
    const mixed = pack(
      [
        [0, 'a'],
        [2, 1],
        [-3, 1780000000],
      ],
      [
        [0, 'a'],
        [2, 1],
        [6, new Tagged(4, [-3, 1500])],
      ],
    );
    expect(checkTelemetry(mixed, 112)).toEqual({
      readings: 2,
      minTimeMs: 1780000000000,
      maxTimeMs: 1780000001500,
      absolute: true,
      relative: false,
    });
    expect(
      checkTelemetry(
        pack([
          [0, 'a'],
          [2, 1],
          [6, -5],
        ]),
        112,
      ),
    ).toMatchObject({ minTimeMs: -5000, absolute: false, relative: true });
  });
});
