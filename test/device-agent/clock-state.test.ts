import { mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { timeReadings } from '@fieldproof/device-agent/batch';
import { ClockState } from '@fieldproof/device-agent/clock-state';
import { quantise } from '@fieldproof/device-agent/quantise';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type FakeClock, fakeClock } from './fake-clock.ts';

let clock: FakeClock;
let root: string;
let told: [string, number][];
let state: ClockState;

beforeEach(async () => {
  clock = fakeClock();
  root = await mkdtemp(join(tmpdir(), 'agent-clock-'));
  told = [];
  state = new ClockState({
    clock,
    maxErrorMs: 1000,
    trustTimesyncd: true,
    root,
    onStep: (byMs) => told.push(['step', byMs]),
    onSynced: (boundMs) => told.push(['synced', boundMs]),
  });
});
afterEach(() => rm(root, { recursive: true }));

/** A hello with a round trip of 40 ms from a server whose clock is ahead of ours by `aheadMs`. */
function confirm(aheadMs: number): void {
  const now = clock.monotonicMs();
  state.confirm({ sentMs: now - 40, receivedMs: now, serverMs: clock.wallMs() - 20 + aheadMs });
}

describe('the state of the clock', () => {
  test('is not believed until a hello confirms it', () => {
    expect(state.read().boundMs).toBeNull();
    confirm(7);
    expect(state.read().boundMs).toBe(30);
    expect(told).toEqual([['synced', 30]]);
  });

  test('a clock that is far off stays disbelieved, and an older confirmation is withdrawn', () => {
    confirm(0);
    confirm(5000);
    expect(state.read().boundMs).toBeNull();
  });

  test('the bound always covers the true error', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -900, max: 900 }),
        fc.nat(300),
        fc.nat(300),
        (error, up, down) => {
          const at = fakeClock();
          const judged = new ClockState({
            clock: at,
            maxErrorMs: 10_000,
            trustTimesyncd: false,
            root: '/nowhere',
            onStep: () => {},
            onSynced: () => {},
          });
          // The server read its true time `up` ms after the request left.
          const trueMs = at.wallMs() + error;
          judged.confirm({ sentMs: 0 - up - down, receivedMs: 0, serverMs: trueMs - down });
          expect(judged.read().boundMs).toBeGreaterThanOrEqual(Math.abs(error));
        },
      ),
    );
  });

  test('grows with time by what a crystal drifts, until it says nothing', async () => {
    confirm(0);
    await clock.advance(3_600_000);
    expect(state.read().boundMs).toBe(23 + 900);
    await clock.advance(3 * 3_600_000);
    expect(state.read().boundMs).toBeNull();
  });

  test.each([-3_600_000, 600])(
    'a step of %d ms is told and voids the confirmation',
    async (step) => {
      confirm(0);
      await clock.advance(1000);
      clock.step(step);
      expect(state.read().boundMs).toBeNull();
      expect(told).toEqual([
        ['synced', 23],
        ['step', step],
      ]);
      confirm(0);
      expect(state.read().boundMs).toBe(23);
    },
  );

  test('slewing is no step', async () => {
    confirm(0);
    for (let second = 0; second < 100; second += 1) {
      await clock.advance(1000);
      clock.step(0.5);
      state.read();
    }
    expect(told).toHaveLength(1);
  });

  test("timesyncd's mark of this boot stands in for a hello; a stale or future one does not", async () => {
    const mark = join(root, 'run/systemd/timesync/synchronized');
    await mkdir(join(root, 'run/systemd/timesync'), { recursive: true });
    await writeFile(mark, '');
    const at = async (ageMs: number) => {
      const time = (clock.wallMs() - ageMs) / 1000;
      await utimes(mark, time, time);
      await state.checkTimesyncd();
      return state.read().boundMs;
    };
    expect(await at(-60_000)).toBeNull();
    expect(await at(86_400_000)).toBeNull();
    // 1,000 ms is more than this agent tolerates.
    expect(await at(1000)).toBeNull();
    state = new ClockState({
      clock,
      maxErrorMs: 2000,
      trustTimesyncd: true,
      root,
      onStep: () => {},
      onSynced: () => {},
    });
    expect(await at(1000)).toBe(1001);
    expect(state.status()).toEqual({ synced: true, boundMs: 1001, by: 'timesyncd', steps: 0 });
  });
});

describe('times of readings', () => {
  const reading = { profile: 'p', metric: 'm', unit: '', value: 1 };

  test('are absolute with a bound, relative to the sealing without', () => {
    const readings = [
      { ...reading, bootMs: 1000 },
      { ...reading, bootMs: 3000 },
    ];
    const now = { bootMs: 5000.7, offsetMs: 1_700_000_000_000, boundMs: 20 };
    expect(timeReadings(readings, now).map(({ timeMs }) => timeMs)).toEqual([
      1_700_000_001_000, 1_700_000_003_000,
    ]);
    expect(timeReadings(readings, { ...now, boundMs: null }).map(({ timeMs }) => timeMs)).toEqual([
      -4000, -2000,
    ]);
  });
});

describe('rounding to the resolution', () => {
  test.each([
    [21.349999, 0.01, 21.35],
    [0.1 + 0.2, 0.1, 0.3],
    [101_324.6, 10, 101_320],
    [-0.04, 0.1, 0],
    [1.23e-7, 1e-8, 1.2e-7],
    [17, 0.25, 17],
    [2.345678, undefined, 2.345678],
    [1e300, 0.001, 1e300],
  ] as const)('%d by %d is %d', (value, resolution, expected) => {
    expect(quantise(value, resolution)).toBe(expected);
  });

  test('never moves a value by more than half a step, and rounding again changes nothing', () => {
    const resolutions = fc.constantFrom(0.001, 0.01, 0.05, 0.1, 0.5, 1, 4096);
    fc.assert(
      fc.property(fc.double({ min: -1e6, max: 1e6, noNaN: true }), resolutions, (value, step) => {
        const rounded = quantise(value, step);
        expect(Math.abs(rounded - value)).toBeLessThanOrEqual(step / 2 + 1e-9);
        expect(quantise(rounded, step)).toBe(rounded);
      }),
    );
  });
});
