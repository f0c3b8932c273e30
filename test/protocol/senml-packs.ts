/** Generators of SenML packs as CBOR maps, for the laws that hold the two readers together. */

import { type CborValue, encode, Float, Tagged } from '@fieldproof/protocol/cbor';
import fc from 'fast-check';

const integer = fc.oneof(
  fc.integer({ min: -30, max: 300 }),
  fc.integer(),
  fc.maxSafeInteger(),
  fc.constantFrom<number | bigint>(2n ** 53n, -(2n ** 53n), 2n ** 64n - 1n, -(2n ** 64n)),
);
const decimalFraction = fc
  .tuple(fc.integer({ min: -19, max: 19 }), fc.oneof(fc.integer({ min: -500, max: 5000 }), integer))
  .map((pair) => new Tagged(4, pair) as CborValue);
const float = fc
  .oneof(fc.double(), fc.float(), fc.constantFrom(-0, 0.5, 21, 1e308))
  .map((x) => new Float(x) as CborValue);
export const number: fc.Arbitrary<CborValue> = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: -30, max: 300 }) as fc.Arbitrary<CborValue> },
  { weight: 3, arbitrary: decimalFraction },
  { weight: 2, arbitrary: float },
  integer as fc.Arbitrary<CborValue>,
);
const time: fc.Arbitrary<CborValue> = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: -100, max: 100 }) as fc.Arbitrary<CborValue> },
  fc.integer({ min: -5000, max: 5000 }).map((ms) => new Tagged(4, [-3, ms]) as CborValue),
  fc.double({ min: -100, max: 100 }).map((x) => new Float(x) as CborValue),
);
const baseTime: fc.Arbitrary<CborValue> = fc.oneof(
  fc.integer({ min: 1.7e9, max: 1.8e9 }) as fc.Arbitrary<CborValue>,
  fc.constantFrom<CborValue>(
    2 ** 28,
    new Tagged(4, [-3, 1780000000123]),
    new Float(1276020076.001),
  ),
);
const name = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.constantFrom('air/', 'temp', 'air/temp', 'hum', 'pm2.5', 'urn:dev:ow:1:', ''),
  },
  fc.string({ maxLength: 100 }),
);
const text = fc.oneof(
  fc.constantFrom('Cel', '%RH', 'µg/m3', ''),
  fc.string({ unit: 'binary', maxLength: 40 }),
);
const rare = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 4 });
const often = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 1 });

const value: fc.Arbitrary<readonly [number, CborValue][]> = fc.oneof(
  { weight: 8, arbitrary: number.map((v) => [[2, v]] as [number, CborValue][]) },
  text.map((v) => [[3, v]] as [number, CborValue][]),
  fc.boolean().map((v) => [[4, v]] as [number, CborValue][]),
  fc.uint8Array({ maxLength: 8 }).map((v) => [[8, v]] as [number, CborValue][]),
  fc.constant([] as [number, CborValue][]),
);
const unknown: fc.Arbitrary<[CborValue, CborValue]> = fc.tuple(
  fc.constantFrom<CborValue>('foo', 'must_', 9, -7, 'v', 300),
  fc.constantFrom<CborValue>(
    1,
    'x',
    [1, [2, new Map<CborValue, CborValue>([[1, 'y']])]],
    null,
    new Float(1.5),
  ),
);

const record: fc.Arbitrary<CborValue> = fc
  .record({
    n: often(name),
    u: rare(text),
    value,
    s: fc.option(number, { nil: undefined, freq: 8 }),
    t: often(time),
    ut: fc.option(number, { nil: undefined, freq: 12 }),
    bver: fc.option(fc.constantFrom<CborValue>(10, 5, 11), { nil: undefined, freq: 20 }),
    bn: rare(name),
    bt: rare(baseTime),
    bu: rare(text),
    bv: rare(number),
    bs: fc.option(number, { nil: undefined, freq: 8 }),
    unknown: fc.option(unknown, { nil: undefined, freq: 12 }),
  })
  .map((r) => {
    const keyed: [CborValue, CborValue | undefined][] = [
      [0, r.n],
      [1, r.u],
      [5, r.s],
      [6, r.t],
      [7, r.ut],
      [-1, r.bver],
      [-2, r.bn],
      [-3, r.bt],
      [-4, r.bu],
      [-5, r.bv],
      [-6, r.bs],
      ...r.value,
      ...(r.unknown ? [r.unknown] : []),
    ];
    return new Map(keyed.filter(([, v]) => v !== undefined)) as CborValue;
  });

/** Packs with mistakes of every kind, some of them valid. */
export const anyPack = fc.array(record, { minLength: 0, maxLength: 8 }).map((pack) => encode(pack));

/** Packs that are valid: one named base, then plain records. */
export const validPack = fc
  .tuple(
    baseTime,
    fc.array(
      fc.record({
        n: fc.constantFrom('temp', 'hum', 'gas/raw', 'x:y'),
        t: fc.option(fc.integer({ min: 0, max: 60 }), { nil: undefined }),
        v: fc.oneof(
          fc.integer({ min: -50, max: 2000 }) as fc.Arbitrary<CborValue>,
          fc.integer({ min: -5000, max: 5000 }).map((m) => new Tagged(4, [-2, m]) as CborValue),
          fc
            .double({ noNaN: true, noDefaultInfinity: true, min: -1e300, max: 1e300 })
            .map((x) => new Float(x) as CborValue),
        ),
        bv: fc.option(fc.integer({ min: -5, max: 500 }), { nil: undefined, freq: 6 }),
        bu: fc.option(fc.constantFrom('Cel', '%RH'), { nil: undefined, freq: 6 }),
      }),
      { minLength: 1, maxLength: 20 },
    ),
  )
  .map(([bt, records]) =>
    encode(
      records.map((r, i) => {
        const entries: [CborValue, CborValue | undefined][] = [
          [0, r.n],
          [2, r.v],
          [6, r.t],
          [-4, r.bu],
          [-5, r.bv],
          ...(i === 0
            ? ([
                [-2, 'air/'],
                [-3, bt],
              ] as [CborValue, CborValue][])
            : []),
        ];
        return new Map(entries.filter(([, v]) => v !== undefined));
      }),
    ),
  );

/** One to three bytes of the input set, dropped or inserted. */
export const mutations = fc.array(
  fc.record({
    at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    how: fc.constantFrom('set', 'drop', 'insert'),
    byte: fc.oneof(
      fc.integer({ min: 0, max: 255 }),
      fc.constantFrom(0x20, 0x21, 0x60, 0x80, 0xa0, 0xa1, 0xc4, 0xf9, 0xfb, 0x18, 0x19),
    ),
  }),
  { minLength: 1, maxLength: 3 },
);

export function mutate(
  bytes: Uint8Array,
  steps: readonly { at: number; how: string; byte: number }[],
): Uint8Array {
  const list = [...bytes];
  for (const { at, how, byte } of steps) {
    const index = Math.floor(at * list.length);
    if (how === 'set') list[index] = byte;
    else if (how === 'drop') list.splice(index, 1);
    else list.splice(index, 0, byte);
  }
  return Uint8Array.from(list);
}

const edge = fc.constantFrom(0, 1, 23, 24, 255, 256, 65535, 65536);
const shortInteger = fc.oneof(
  edge,
  fc.integer({ min: -300, max: 300 }),
  edge.map((x) => -1 - x),
);
const steadyNumber: fc.Arbitrary<CborValue> = fc.oneof(
  { weight: 3, arbitrary: shortInteger as fc.Arbitrary<CborValue> },
  {
    weight: 5,
    arbitrary: fc
      .tuple(fc.integer({ min: -19, max: 1 }), shortInteger)
      .map((pair) => new Tagged(4, pair) as CborValue),
  },
  number,
);

/** One metric in many records of value and time alone, beside base fields of every kind: what devices send. */
export const steadyPack: fc.Arbitrary<Uint8Array> = fc
  .tuple(
    rare(baseTime),
    rare(fc.oneof(number, decimalFraction)),
    rare(number),
    fc.array(fc.tuple(steadyNumber, fc.oneof({ weight: 6, arbitrary: edge }, time)), {
      minLength: 3,
      maxLength: 20,
    }),
  )
  .map(([bt, bv, bs, records]) => {
    const first = new Map<CborValue, CborValue>([
      [-2, 'air/t'],
      [2, 1],
    ]);
    if (bt !== undefined) first.set(-3, bt);
    if (bv !== undefined) first.set(-5, bv);
    if (bs !== undefined) first.set(-6, bs);
    const steady = records.map(
      ([v, t]) =>
        new Map<CborValue, CborValue>([
          [2, v],
          [6, t as CborValue],
        ]),
    );
    return encode([first, ...steady]);
  });
