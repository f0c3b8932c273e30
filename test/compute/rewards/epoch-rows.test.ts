import type {
  EpochDevice,
  EpochStream,
  EpochTime,
  TelemetryPolicy,
} from '@fieldproof/compute/rewards/epoch-input';
import { epochRows, relocationPpm } from '@fieldproof/compute/rewards/epoch-rows';
import type { QualityRules } from '@fieldproof/compute/rewards/quality-rules';
import { quantumOf } from '@fieldproof/compute/rewards/quantum';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { gridDisk, latLngToCell } from 'h3-js';

const TIME: EpochTime = { startMs: 1_800_000_000_000, slotMs: 60_000, slots: 10 };
const PLACES = gridDisk(latLngToCell(52.52, 13.4, 7), 2);
const POLICY: TelemetryPolicy = {
  ...{ pool: 1_000_000n, fullPoints: 0n, fillPpm: 900_000, density: null, relocation: null },
  ...{ lonePpm: 1_000_000, caps: { devicePpm: 1_000_000, ownerPpm: 1_000_000 } },
};
const DENSITY = {
  occupiedPpm: 500_000,
  levels: [
    { resolution: 7, n: 2, target: 1, max: 4 },
    { resolution: 6, n: 2, target: 5, max: 20 },
  ],
};

type Row = readonly [atS: number, value: number];

/** A reading every ten seconds of the epoch, each a step above the one before. */
const steady = (from = 0): Row[] =>
  Array.from({ length: 60 }, (_, at) => [at * 10, from + at * 0.1] as const);

function stream(
  metric: string,
  rows: readonly Row[],
  more: Partial<EpochStream> = {},
): EpochStream {
  const { resolution = 0.1, rules = {} } = more;
  const readings = {
    count: rows.length,
    timesUs: Float64Array.from(rows, ([atS]) => TIME.startMs * 1000 + atS * 1e6),
    quanta: Float64Array.from(rows, ([, value]) => quantumOf(value, resolution)),
  };
  return { metric, weight: 1, cadenceMs: 10_000, covers: [], ...more, resolution, rules, readings };
}

function device(at: number, streams: readonly EpochStream[], more: Partial<EpochDevice> = {}) {
  return {
    ...{ device: `${at}`.padStart(64, '0'), owner: `${at}`.padStart(64, 'f'), cell: PLACES[0]! },
    ...{ enrolled: at, movedEpochsAgo: undefined, counts: new Uint8Array(TIME.slots).fill(1) },
    ...{ streams, leftOut: { unanchored: 0, source: 0, unwanted: 0 } },
    ...more,
  } satisfies EpochDevice;
}

const rowsOf = (devices: readonly EpochDevice[], policy: Partial<TelemetryPolicy> = {}) =>
  epochRows(devices, TIME, { ...POLICY, ...policy });

describe('the rows of an epoch', () => {
  test('half of the time earns half, and what a stream weighs is what it earns', () => {
    const half = steady().slice(0, 30);
    const { rows, unallocated } = rowsOf([
      device(1, [stream('a/t', steady())]),
      device(2, [stream('a/t', half)]),
      device(3, [stream('a/t', half), stream('a/h', steady(), { weight: 4 })]),
    ]);
    expect(rows.map(({ amount }) => amount)).toEqual([166_667n, 83_333n, 750_000n]);
    expect(unallocated).toBe(0n);
    const [humidity, temperature] = rows[2]!.streams;
    expect(humidity).toMatchObject({ metric: 'a/h', fill: 1_000_000, amount: 666_667n });
    expect(temperature).toMatchObject({ metric: 'a/t', fill: 500_000, amount: 83_333n });
  });

  test('more readings than the cadence asks for earn nothing', () => {
    const flood = Array.from({ length: 6000 }, (_, at): Row => [at / 10, at]);
    const { rows } = rowsOf([
      device(1, [stream('a/t', steady())]),
      device(2, [stream('a/t', flood)]),
    ]);
    expect(rows.map(({ amount }) => amount)).toEqual([500_000n, 500_000n]);
  });

  test('the result of an edge function earns as the raw readings that it covers', () => {
    const startUs = TIME.startMs * 1000;
    const covers = [{ firstUs: startUs, lastUs: startUs + 590e6, count: 60 }];
    const { rows } = rowsOf([
      device(1, [stream('a/t', steady())]),
      device(2, [stream('a/t', [], { covers })]),
    ]);
    expect(rows[1]!.amount).toBe(rows[0]!.amount);
  });

  test('a cover over a thousand years costs no time and earns no more than its slots', () => {
    const covers = [{ firstUs: 0, lastUs: 32e15, count: 2 ** 52 }];
    const { rows } = rowsOf([device(1, [stream('a/t', [], { covers })])]);
    expect(rows[0]!.streams[0]).toMatchObject({ fill: 1_000_000 });
  });

  test('slots that do not count earn nothing', () => {
    const counts = Uint8Array.from({ length: TIME.slots }, (_, slot) => (slot < 3 ? 1 : 0));
    const { rows } = rowsOf([
      device(1, [stream('a/t', steady())]),
      device(2, [stream('a/t', steady())], { counts }),
    ]);
    expect(rows[1]!.streams[0]!.fill).toBe(300_000);
  });

  test('bad readings cost their share, and the row says how many there are of which kind', () => {
    const rules: QualityRules = { bounds: [-40, 60] };
    const rows: Row[] = steady().map(([atS, value], at) => [atS, at % 4 === 0 ? 99 : value]);
    const [row] = rowsOf([device(1, [stream('a/t', rows, { rules })])]).rows;
    expect(row!.streams[0]).toMatchObject({ fill: 1_000_000, bad: { BOUNDS: 15 } });
    expect(row!.streams[0]!.quality).toBeGreaterThan(700_000);
    expect(row!.streams[0]!.quality).toBeLessThan(800_000);
  });

  test('who copies earns nothing for it, who was copied all', () => {
    const rules: QualityRules = { duplicate: { readings: 20, values: 10, slots: 5 } };
    const { rows } = rowsOf([
      device(3, [stream('a/t', steady(), { rules })], { enrolled: 7 }),
      device(2, [stream('a/t', steady(), { rules })], { enrolled: 9 }),
      device(1, [stream('a/t', steady(5), { rules })], { enrolled: 8 }),
    ]);
    expect(rows.map(({ amount }) => amount)).toEqual([500_000n, 0n, 500_000n]);
    expect(rows[1]).toMatchObject({ zero: 'BAD_DATA' });
    expect(rows[1]!.streams[0]!.bad).toEqual({ DUPLICATE: 60 });
  });

  test('who differs from those around it earns nothing for it; who has nobody around is lone, not bad', () => {
    const rules: QualityRules = {
      buddies: { resolution: 5, owners: 2, spread: 1, timesMad: 3 },
    };
    const far = latLngToCell(-33.9, 18.4, 7);
    const { rows } = rowsOf(
      [
        device(1, [stream('a/t', steady(), { rules })]),
        device(2, [stream('a/t', steady(0.2), { rules })]),
        device(3, [stream('a/t', steady(0.1), { rules })]),
        device(4, [stream('a/t', steady(30), { rules })]),
        device(5, [stream('a/t', steady(30), { rules })], { cell: far }),
      ],
      { lonePpm: 500_000 },
    );
    expect(rows.map(({ zero }) => zero)).toEqual([null, null, null, 'BAD_DATA', null]);
    expect(rows[4]).toMatchObject({ corroboration: 500_000, amount: rows[0]!.amount / 2n });
  });

  test('ten in one place earn no more than the place has room for', () => {
    const crowd = Array.from({ length: 10 }, (_, at) => device(at, [stream('a/t', steady())]));
    const alone = device(50, [stream('a/t', steady())], { cell: latLngToCell(-33.9, 18.4, 7) });
    const { rows } = rowsOf([...crowd, alone], { density: DENSITY });
    expect(rows[0]!.density).toBe(100_000);
    expect(rows[10]!.amount).toBe(500_000n);
  });

  test('a device without a place has none of the density', () => {
    const [row] = rowsOf([device(1, [stream('a/t', steady())], { cell: '' })], {
      density: DENSITY,
    }).rows;
    expect(row).toMatchObject({ amount: 0n, density: 0, zero: 'NO_CELL' });
  });

  test('says why there is nothing', () => {
    const leftOut = { unanchored: 0, source: 0, unwanted: 0 };
    const zero = (more: Partial<EpochDevice>, rows: readonly Row[] = []) =>
      rowsOf([device(1, [stream('a/t', rows)], more)], {
        relocation: { freezeEpochs: 7, rampEpochs: 7 },
        fullPoints: 10n ** 18n,
      }).rows[0]!.zero;
    expect(zero({})).toBe('NO_DATA');
    expect(zero({ counts: new Uint8Array(TIME.slots) }, steady())).toBe('BARRED');
    expect(zero({ leftOut: { ...leftOut, unanchored: 3 } })).toBe('UNANCHORED');
    expect(zero({ leftOut: { ...leftOut, source: 3, unanchored: 3 } })).toBe('SOURCE');
    expect(zero({ leftOut: { unwanted: 1, source: 3, unanchored: 3 } })).toBe('NOT_WANTED');
    expect(zero({ movedEpochsAgo: 0 }, steady())).toBe('RELOCATED');
    expect(zero({}, steady())).toBe('TOO_SMALL');
  });
});

test('a place that is new is paid nothing at first, then more with each epoch', () => {
  const rules = { freezeEpochs: 2, rampEpochs: 4 };
  expect([0, 1, 2, 3, 4, 5, 99].map((ago) => relocationPpm(ago, rules))).toEqual([
    0, 0, 250_000, 500_000, 750_000, 1_000_000, 1_000_000,
  ]);
  expect(relocationPpm(undefined, rules)).toBe(1_000_000);
  expect(relocationPpm(0, null)).toBe(1_000_000);
  expect(relocationPpm(0, { freezeEpochs: 0, rampEpochs: 0 })).toBe(1_000_000);
});

describe('for any readings', () => {
  const rules: QualityRules = {
    bounds: [-1, 8],
    jump: { limit: 3, withinMs: 30_000 },
    stuck: { afterMs: 60_000, readings: 3 },
    duplicate: { readings: 3, values: 2, slots: 5 },
    buddies: { resolution: 5, owners: 2, spread: 1, timesMad: 3 },
  };
  const reading = fc.tuple(fc.integer({ min: -90, max: 690 }), fc.integer({ min: -2, max: 9 }));
  const some = fc.array(
    fc.record({
      owner: fc.constantFrom('aa', 'bb', 'cc', 'dd'),
      cell: fc.constantFrom('', ...PLACES),
      moved: fc.constantFrom(undefined, 0, 3, 9),
      metrics: fc.array(fc.array(reading, { maxLength: 60 }), { maxLength: 2 }),
      cadenceMs: fc.constantFrom(5000, 20_000, 150_000),
    }),
    { maxLength: 8 },
  );
  const policy = fc.record({
    pool: fc.bigInt(0n, 10n ** 12n),
    fullPoints: fc.constantFrom(0n, 10n ** 7n),
    fillPpm: fc.constantFrom(1, 900_000, 1_000_000),
    density: fc.constantFrom(null, DENSITY),
    relocation: fc.constantFrom(null, { freezeEpochs: 2, rampEpochs: 4 }),
    lonePpm: fc.nat(1_000_000),
    caps: fc.record({ devicePpm: fc.nat(1_000_000), ownerPpm: fc.nat(1_000_000) }),
  });
  const devicesOf = (
    made: typeof some extends fc.Arbitrary<infer T> ? T : never,
    flip: boolean,
  ) => {
    const turn = <T>(list: readonly T[]): T[] => (flip ? [...list].reverse() : [...list]);
    const devices = made.map(({ owner, cell, moved, metrics, cadenceMs }, at) =>
      device(
        at,
        turn(
          metrics.map((rows, each) =>
            stream(`a/m${each}`, turn(rows), { rules, cadenceMs, resolution: 1 }),
          ),
        ),
        { owner: owner.padStart(64, '0'), cell, movedEpochsAgo: moved },
      ),
    );
    return turn(devices);
  };

  test('rows and what is unallocated are the pool, streams are their row, and who has nothing has a reason', () => {
    fc.assert(
      fc.property(some, policy, (made, terms) => {
        const { rows, unallocated } = epochRows(devicesOf(made, false), TIME, terms);
        const paid = rows.reduce((sum, { amount }) => sum + amount, 0n);
        expect(paid + unallocated).toBe(terms.pool);
        expect(rows.length).toBe(made.length);
        for (const { amount, zero, streams } of rows) {
          expect(amount >= 0n).toBe(true);
          expect(zero === null).toBe(amount > 0n);
          if (amount > 0n) {
            expect(streams.reduce((sum, each) => sum + each.amount, 0n)).toBe(amount);
          }
        }
      }),
    );
  });

  test('the order in which anything came changes nothing', () => {
    fc.assert(
      fc.property(some, policy, (made, terms) => {
        const rows = epochRows(devicesOf(made, false), TIME, terms);
        expect(epochRows(devicesOf(made, true), TIME, terms)).toEqual(rows);
      }),
    );
  });
});
