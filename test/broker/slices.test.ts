import { Slices } from '@fieldproof/broker/mqtt/slices';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('work for strangers', () => {
  test('is done in slices, with a turn for everybody else after each', async () => {
    let ms = 0;
    const slices = new Slices({ sliceMs: 3, monotonicMs: () => ms });
    const done: number[] = [];
    for (let n = 0; n < 8; n++) {
      slices.add(() => {
        ms += 1;
        done.push(n);
      });
    }
    expect(done).toEqual([]);
    await turn();
    expect(done).toEqual([0, 1, 2]);
    await turn();
    expect(done).toHaveLength(6);
    await turn();
    expect(done).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(slices.waiting).toBe(0);
  });

  test('one task longer than a slice is done all the same', async () => {
    let ms = 0;
    const slices = new Slices({ sliceMs: 1, monotonicMs: () => ms });
    let done = 0;
    const long = () => {
      ms += 50;
      done += 1;
    };
    slices.add(long);
    slices.add(long);
    await turn();
    expect(done).toBe(1);
    await turn();
    expect(done).toBe(2);
  });

  test('keeps its order, does everything once and lets no more wait than it may, whatever comes when', async () => {
    const step = fc.record({ adds: fc.nat(30), turns: fc.nat(3) });
    const limits = fc.record({
      sliceMs: fc.integer({ min: 1, max: 4 }),
      most: fc.integer({ min: 1, max: 20 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 8 }),
        limits,
        async (steps, { sliceMs, most }) => {
          let ms = 0;
          const slices = new Slices({ sliceMs, maxWaiting: most, monotonicMs: () => ms });
          const done: number[] = [];
          let added = 0;
          for (const { adds, turns } of steps) {
            for (let n = 0; n < adds; n++) {
              const number = added++;
              slices.add(() => {
                ms += 1;
                done.push(number);
                // What is added meanwhile waits too.
                if (number % 7 === 0) expect(slices.waiting).toBeLessThanOrEqual(most);
              });
              expect(slices.waiting).toBeLessThanOrEqual(most);
            }
            for (let n = 0; n < turns; n++) await turn();
          }
          while (slices.waiting > 0) await turn();
          expect(done).toEqual(Array.from({ length: added }, (_, n) => n));
        },
      ),
      { numRuns: 50 },
    );
  });
});
