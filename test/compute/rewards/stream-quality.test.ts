import { lookBackMs, type QualityRules } from '@fieldproof/compute/rewards/quality-rules';
import { MAX_QUANTUM, quantumOf } from '@fieldproof/compute/rewards/quantum';
import { slotCredit, slotNeed } from '@fieldproof/compute/rewards/slot-credit';
import { arrange, judgeStream, reasonOfVerdict } from '@fieldproof/compute/rewards/stream-quality';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

type Row = readonly [atS: number, value: number];

/** Reasons of readings, in ascending time. */
function judged(rows: readonly Row[], rules: QualityRules, resolution = 1): (string | undefined)[] {
  const stream = arrange({
    count: rows.length,
    timesUs: Float64Array.from(rows, ([atS]) => atS * 1e6),
    quanta: Float64Array.from(rows, ([, value]) => quantumOf(value, resolution)),
  });
  judgeStream(stream, stream.verdicts, { rules, resolution });
  return [...stream.verdicts].map((verdict) => reasonOfVerdict(verdict));
}

describe('quanta', () => {
  test('are the nearest multiples, halves upward', () => {
    expect([21.53, -0.5, 0.5, -1.5, -0].map((value) => quantumOf(value, 1))).toEqual([
      22, 0, 1, -1, 0,
    ]);
    expect(quantumOf(21.53, 0.01)).toBe(2153);
    expect(Object.is(quantumOf(-0.4, 1), 0)).toBe(true);
  });

  test('beyond 32 bits there is none', () => {
    expect(quantumOf(MAX_QUANTUM, 1)).toBe(MAX_QUANTUM);
    expect(quantumOf(MAX_QUANTUM + 1, 1)).toBeNaN();
    expect(quantumOf(1, 1e-300)).toBeNaN();
  });
});

describe('checks of a stream', () => {
  test('bounds include their ends, and what has no quantum is out of all', () => {
    const rules = { bounds: [-40, 60] } as const;
    const rows: Row[] = [
      [0, -40],
      [1, -41],
      [2, 60],
      [3, 60.6],
      [4, 1e300],
    ];
    expect(judged(rows, rules)).toEqual([undefined, 'BOUNDS', undefined, 'BOUNDS', 'BOUNDS']);
    expect(judged([[0, 1e300]], {})).toEqual(['BOUNDS']);
  });

  test('a jump is one from the reading before, when that is near', () => {
    const rules = { jump: { limit: 5, withinMs: 10_000 } };
    const spike: Row[] = [
      [0, 20],
      [10, 30],
      [20, 20],
      [31, 30],
      [41, 35],
    ];
    expect(judged(spike, rules)).toEqual([undefined, 'JUMP', 'JUMP', undefined, undefined]);
    const afterFault: Row[] = [
      [0, 20],
      [5, 99],
      [10, 30],
    ];
    expect(judged(afterFault, { ...rules, bounds: [0, 50] })).toEqual([
      undefined,
      'BOUNDS',
      undefined,
    ]);
  });

  test('a value that stays for too long is stuck from its first reading on, unless it may', () => {
    const stuck = { afterMs: 30_000, readings: 3 };
    const rows: Row[] = [
      [0, 1],
      [10, 7],
      [20, 7],
      [40, 7],
      [50, 8],
    ];
    expect(judged(rows, { stuck })).toEqual([undefined, 'STUCK', 'STUCK', 'STUCK', undefined]);
    expect(judged(rows, { stuck: { ...stuck, except: [[7, 9]] } })).toEqual(
      Array(5).fill(undefined),
    );
    expect(judged(rows, { stuck: { ...stuck, readings: 4 } })).toEqual(Array(5).fill(undefined));
    expect(judged(rows, { stuck: { ...stuck, afterMs: 30_001 } })).toEqual(
      Array(5).fill(undefined),
    );
  });

  test('of two values at one time the smaller is left, as a conflict; the same value twice is one reading', () => {
    expect(
      judged(
        [
          [5, 9],
          [5, 3],
          [6, 1],
          [6, 1],
        ],
        {},
      ),
    ).toEqual(['CONFLICT', undefined]);
  });

  test('say the same in whatever order the readings came', () => {
    const rows = fc.array(
      fc.tuple(fc.integer({ min: 0, max: 60 }), fc.integer({ min: -3, max: 9 })),
    );
    const rules: QualityRules = {
      bounds: [-2, 8],
      jump: { limit: 4, withinMs: 5000 },
      stuck: { afterMs: 3000, readings: 2 },
    };
    fc.assert(
      fc.property(rows, fc.infiniteStream(fc.nat()), (some, numbers) => {
        const shuffled = some
          .map((row) => ({ row, key: numbers.next().value as number }))
          .sort((a, b) => a.key - b.key)
          .map(({ row }) => row);
        expect(judged(shuffled, rules)).toEqual(judged(some, rules));
      }),
    );
  });

  test('look back as far as the longest of them reaches', () => {
    expect(lookBackMs({})).toBe(0);
    const jump = { limit: 1, withinMs: 600 };
    expect(lookBackMs({ jump, stuck: { afterMs: 5000, readings: 3 } })).toBe(5000);
  });
});

describe('slots', () => {
  const need = (cadenceMs: number, fillPpm = 900_000) =>
    slotNeed({ slotMs: 300_000, cadenceMs, fillPpm });

  test('a slot is full with its share of what the cadence gives', () => {
    expect(need(10_000)).toEqual({ readings: 27, slots: 1 });
    expect(need(300_000)).toEqual({ readings: 1, slots: 1 });
    expect(need(200_000, 1)).toEqual({ readings: 1, slots: 1 });
  });

  test('a reading of a slow stream counts in the slots that its cadence takes', () => {
    expect(need(300_001)).toEqual({ readings: 1, slots: 2 });
    expect(need(900_000)).toEqual({ readings: 1, slots: 3 });
  });

  test('more readings than fill a slot earn nothing, bad ones cost their share', () => {
    expect(slotCredit(0, 0, 10)).toEqual({ fill: 0, credit: 0 });
    expect(slotCredit(5, 5, 10)).toEqual({ fill: 500_000, credit: 500_000 });
    expect(slotCredit(1000, 1000, 10)).toEqual({ fill: 1_000_000, credit: 1_000_000 });
    expect(slotCredit(20, 15, 10)).toEqual({ fill: 1_000_000, credit: 750_000 });
  });
});
