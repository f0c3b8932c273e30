import { type Absence, OfflineWatch } from '@fieldproof/broker/observe/offline-watch';
import { Outages, type OutagesOptions } from '@fieldproof/broker/observe/outages';
import type { WebhookEvent } from '@fieldproof/broker/observe/webhook-sender';
import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';

const AFTER = 1000;

describe('the rules', () => {
  test('a device is away when its session has been gone for long enough, and that is told once', () => {
    const watch = new OfflineWatch({ offlineAfterMs: AFTER, startTick: 0 });
    watch.ends('a', 5000);
    expect(watch.due(5999)).toEqual([]);
    const [[device, absence]] = watch.due(6000) as [[string, Absence]];
    expect([device, absence]).toEqual(['a', { fromTick: 5000, heardAt: null }]);
    expect(watch.latch('a', absence, { since: 5000 })).toBe(true);
    expect(watch.due(99_000)).toEqual([]);
    expect(watch.begins('a')).toEqual({ since: 5000 });
    expect(watch.begins('a')).toBeNull();
  });

  test('one that comes back in time is no outage', () => {
    const watch = new OfflineWatch({ offlineAfterMs: AFTER, startTick: 0 });
    watch.ends('a', 5000);
    expect(watch.begins('a')).toBeNull();
    expect(watch.due(9000)).toEqual([]);
  });

  test('an outage that ended while it was looked up is not told', () => {
    const watch = new OfflineWatch({ offlineAfterMs: AFTER, startTick: 0 });
    watch.ends('a', 5000);
    const [[, absence]] = watch.due(6000) as [[string, Absence]];
    watch.begins('a');
    watch.ends('a', 6500);
    expect(watch.latch('a', absence, { since: 5000 })).toBe(false);
  });

  test('after a start nothing is told until devices have had the time to come back', () => {
    const watch = new OfflineWatch({ offlineAfterMs: AFTER, startTick: 50_000 });
    watch.heard('gone', 10);
    watch.heard('back', 20);
    expect(watch.due(50_999)).toEqual([]);
    watch.begins('back');
    expect(watch.due(51_000)).toEqual([['gone', { fromTick: 50_000, heardAt: 10 }]]);
  });

  test('an outage that an earlier run has told is not told again, and its end is', () => {
    const watch = new OfflineWatch({ offlineAfterMs: AFTER, startTick: 50_000 });
    watch.restore('a', { since: 7 });
    watch.heard('a', 9);
    expect(watch.due(99_000)).toEqual([]);
    expect(watch.begins('a')).toEqual({ since: 7 });
  });

  test('whatever devices do, offline and online alternate for each', () => {
    const step = fc.tuple(fc.constantFrom('begin', 'end', 'check'), fc.nat(3), fc.nat(1500));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const watch = new OfflineWatch({ offlineAfterMs: AFTER, startTick: 0 });
        const isTold = new Map<string, boolean>();
        let now = 0;
        for (const [what, n, gap] of steps) {
          now += gap;
          const id = `d${n}`;
          if (what === 'end') watch.ends(id, now);
          if (what === 'begin' && watch.begins(id) !== null) {
            expect(isTold.get(id)).toBe(true);
            isTold.set(id, false);
          }
          if (what !== 'check') continue;
          for (const [due, absence] of watch.due(now)) {
            expect(now - absence.fromTick).toBeGreaterThanOrEqual(AFTER);
            expect(watch.latch(due, absence, { since: absence.fromTick })).toBe(true);
            expect(isTold.get(due)).not.toBe(true);
            isTold.set(due, true);
          }
        }
      }),
    );
  });
});

describe('what is told', () => {
  function outages(changes: Partial<OutagesOptions> = {}) {
    /** `set`: by how much somebody has set the clock forward. */
    const clock = { ms: 0, set: 0 };
    const told: WebhookEvent[] = [];
    const stored = new Map<string, number>();
    const online = new Set<string>();
    const standing: Record<string, string> = { a: 'active', b: 'active' };
    const device = (deviceId: string) =>
      standing[deviceId] === undefined
        ? null
        : ({
            ...{ deviceId, name: `device ${deviceId}`, group: 'g', quarantined: [] },
            ...{ status: standing[deviceId], suspension: null, credentialExpires: 1e15 },
          } as never);
    const watch = new Outages({
      offlineAfterMs: AFTER,
      devices: () => Object.keys(standing).map((id) => device(id)!),
      device,
      isOnline: (id) => online.has(id),
      lastHeard: async () => null,
      store: {
        load: async () => [...stored],
        put: async (id, since) => void stored.set(id, since),
        remove: async (id) => void stored.delete(id),
      },
      send: (event) => told.push(event),
      log: { info: () => {}, warn: () => {}, error: () => {} } as never,
      now: () => clock.ms,
      monotonicMs: () => clock.ms - clock.set,
      ...changes,
    });
    const session = (id: string, isOnline: boolean) => {
      if (isOnline) online.add(id);
      else online.delete(id);
      if (isOnline) watch.sessionBegins(id);
      else watch.sessionEnds(id);
    };
    return { watch, clock, told, stored, session, standing, device };
  }

  test('one device-offline and one device-online for an outage, with its length', async () => {
    const { watch, clock, told, stored, session } = outages({ lastHeard: async () => 1400 });
    session('a', true);
    clock.ms = 1500;
    session('a', false);
    clock.ms = 2600;
    await watch.check();
    await watch.check();
    // The longest outage first.
    expect(told[0]).toMatchObject({ event: 'device-offline', device: 'b', since: 0 });
    expect(told.slice(1)).toEqual([
      {
        ...{ event: 'device-offline', at: 2600, since: 1500, lastSeen: 1400 },
        ...{ device: 'a', name: 'device a', group: 'g' },
      },
    ]);
    clock.ms = 4000;
    session('a', true);
    await watch.stop();
    expect([...stored.keys()]).toEqual(['b']);
    expect(told[2]).toEqual({
      ...{ event: 'device-online', at: 4000, since: 1500, downMs: 2500 },
      ...{ device: 'a', name: 'device a', group: 'g' },
    });
  });

  test('a device that was never heard is no outage', async () => {
    const { watch, clock, told } = outages();
    clock.ms = 99_000;
    await watch.check();
    expect(told).toEqual([]);
  });

  test('a suspended device is not expected; from its resumption on it is', async () => {
    const { watch, clock, told, session, standing, device } = outages();
    session('a', true);
    clock.ms = 1000;
    standing.a = 'suspended';
    watch.recorded('suspend', device('a')!);
    session('a', false);
    clock.ms = 9000;
    await watch.check();
    expect(told.map(({ event }) => event)).toEqual(['device-suspended']);
    standing.a = 'active';
    watch.recorded('resume', device('a')!);
    clock.ms = 9999;
    await watch.check();
    expect(told).toHaveLength(1);
    clock.ms = 10_000;
    await watch.check();
    expect(told[1]).toMatchObject({ event: 'device-offline', device: 'a', since: 9000 });
  });

  test.each(['by a decision on its appeal', 'at its end'])(
    'a device that was away when it was suspended is expected again when that ends %s',
    async () => {
      const { watch, clock, told, session, standing, device } = outages();
      session('a', true);
      session('a', false);
      clock.ms = 900;
      standing.a = 'suspended';
      watch.recorded('suspend', device('a')!);
      clock.ms = 9000;
      await watch.check();
      // By a decision on its appeal, or at its end: the standing says it.
      standing.a = 'active';
      clock.ms = 9999;
      await watch.check();
      expect(told.map(({ event }) => event)).toEqual(['device-suspended']);
      clock.ms = 10_000;
      await watch.check();
      expect(told[1]).toMatchObject({ event: 'device-offline', device: 'a', since: 9000 });
    },
  );

  test('a clock that is set back an hour delays nothing', async () => {
    const { watch, clock, told, session } = outages();
    session('a', true);
    clock.ms = 7_200_000;
    session('a', false);
    clock.set = -3_600_000;
    clock.ms += clock.set + 1000;
    await watch.check();
    const [since, at] = [3_600_000, 3_601_000];
    expect(told).toMatchObject([{ event: 'device-offline', since, at }]);
  });

  test('a start in 1970 gives devices their time, and is told of in the time that is set then', async () => {
    const { watch, clock, told, session } = outages({
      lastHeard: async (id) => (id === 'b' ? 7e11 : null),
    });
    clock.ms = 500;
    session('a', true);
    session('a', false);
    clock.set = 8e11;
    clock.ms += clock.set;
    await watch.check();
    expect(told).toEqual([]);
    clock.ms = 8e11 + 1600;
    await watch.check();
    expect(told).toMatchObject([
      { event: 'device-offline', device: 'b', since: 7e11 },
      { event: 'device-offline', device: 'a', since: 8e11 + 500 },
    ]);
  });

  test('an unenrolled device is forgotten', async () => {
    const { watch, clock, told, session, standing } = outages();
    session('a', true);
    session('a', false);
    delete standing.a;
    clock.ms = 9000;
    await watch.check();
    expect(told).toEqual([]);
    expect(watch.count).toBe(0);
  });

  test('a database that refuses costs a line, not the news', async () => {
    const { watch, clock, told, session } = outages({
      store: {
        load: async () => [],
        put: async () => Promise.reject(new Error('disk')),
        remove: async () => Promise.reject(new Error('disk')),
      },
    });
    session('a', true);
    session('a', false);
    clock.ms = 5000;
    await watch.check();
    session('a', true);
    await watch.stop();
    expect(told.map(({ event }) => event)).toEqual(['device-offline', 'device-online']);
  });
});
