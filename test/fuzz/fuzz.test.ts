import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type PlainTest, startPlain } from '../broker/support/plain.ts';
import { liveAreas } from './live/live-areas.ts';
import { PlainCases, plainArea } from './plain/plain-cases.ts';
import { PLAIN_FAULTS, plantFault } from './plain/planted-proxy.ts';
import { PLANTED_FAULTS } from './planted.ts';
import { envelopesArea, packetsArea } from './pure-areas.ts';
import { runCases } from './run.ts';

/** The short form; `npm run fuzz` has no end to it. */
const SEED = 7;

describe('a fault that was planted is found', () => {
  test.each(PLANTED_FAULTS.map((fault) => [fault.what, fault] as const))(
    '%s',
    async (_what, fault) => {
      const area = await fault.area();
      const { found } = await runCases({ seed: SEED, from: 0, cases: 2000, areas: [area] });
      await area.close?.();
      expect(found.length).toBeGreaterThan(0);
    },
  );
});

describe('a fault between the plain broker and its clients is found', () => {
  let plain: PlainTest;
  beforeAll(async () => {
    plain = await startPlain({ plainPacketsPerSecond: 0 });
  });
  afterAll(() => plain.close());

  test.each(PLAIN_FAULTS.map((fault) => [fault.what, fault] as const))(
    '%s',
    async (_what, fault) => {
      const { network } = plain.broker.running;
      const proxy = await plantFault(plain.url, fault.alter);
      const envelope = () => ({ topic: 'fp/1/x', bytes: Buffer.of(1) });
      const cases = new PlainCases({ plain: proxy.url, network, envelope });
      const area = plainArea(cases);
      const { found } = await runCases({ seed: SEED, from: 0, cases: 32, areas: [area] });
      await cases.close();
      proxy.close();
      expect(found.length).toBeGreaterThan(0);
    },
  );
});

describe('the short form finds nothing in the product', () => {
  test('packets', async () => {
    const areas = [packetsArea()];
    const { cases, found } = await runCases({ seed: SEED, from: 0, cases: 2000, areas });
    expect(found).toEqual([]);
    expect(cases).toBe(2000);
  });

  test('envelopes', async () => {
    const area = await envelopesArea();
    const { cases, found } = await runCases({ seed: SEED, from: 0, cases: 256, areas: [area] });
    await area.close?.();
    expect(found).toEqual([]);
    expect(cases).toBe(256);
  });

  test('logins, sessions and requests against a process', async () => {
    const areas = await liveAreas(['connects', 'http', 'websocket', 'plain']);
    const counts = { connects: 32, http: 64, websocket: 16, plain: 48 } as Record<string, number>;
    try {
      for (const area of areas) {
        const cases = counts[area.name]!;
        const { found } = await runCases({ seed: SEED, from: 0, cases, areas: [area] });
        expect(found).toEqual([]);
      }
    } finally {
      for (const area of areas) await area.close?.();
    }
  });

  test('a case does the same whenever it is run, alone or among others', async () => {
    const area = () => packetsArea(PLANTED_GUARD);
    const { found } = await runCases({ seed: SEED, from: 0, cases: 2000, areas: [area()] });
    const [first] = found;
    const again = await runCases({ seed: SEED, from: first!.number, cases: 1, areas: [area()] });
    expect(again.found).toEqual([first]);
  });
});

/** Ends every connection at its first PINGREQ. */
const PLANTED_GUARD: Parameters<typeof packetsArea>[0] = () => ({
  push: (chunk) => (chunk.includes(0xc0) ? { clause: 'planted' } : chunk),
  isWaiting: false,
  takeOthers: () => 0,
});
