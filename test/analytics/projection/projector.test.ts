import { project } from '@fieldproof/analytics/projection/projector';
import {
  applyChange,
  dumpState,
  emptyState,
  MAX_BOOTS,
  type ProjectorState,
  restoreState,
} from '@fieldproof/analytics/projection/projector-state';
import { encode } from '@fieldproof/protocol/cbor';
import { encodeEdgeResult } from '@fieldproof/protocol/edge-result';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { BOOT, FakeLog, fakeDevice, NOON, senml } from './evidence.ts';

/** Projects a whole log, released entries included; gives `entry: device profile source cell times` texts. */
function projectAll(log: FakeLog, from = 0, state: ProjectorState = emptyState()) {
  const tables: { entry: number; text: string }[] = [];
  const outcomes: string[] = [];
  const take = (index: number) => {
    const { outcome, changes, released } = project(log.frames[index]!, state);
    for (const change of changes) applyChange(state, change);
    for (const one of released) take(one);
    outcomes.push(outcome.type === 'unprojectable' ? outcome.code : outcome.type);
    if (outcome.type !== 'readings') return;
    for (const t of outcome.tables) {
      const text = [t.device, t.profile, t.source, t.cell, t.group, [...t.timesMs]].join(' ');
      tables.push({ entry: index, text });
    }
  };
  for (let index = from; index < log.size; index++) take(index);
  return { tables, outcomes, state };
}

const alice = fakeDevice(1);

describe('placing readings in time', () => {
  test('Unix times stand as they are', () => {
    const log = new FakeLog();
    log.telemetry(alice, [[NOON / 1000, 21.5]]);
    const { outcome } = project(log.frames[1]!, emptyState());
    expect(outcome.type === 'readings' && outcome.tables[0]).toMatchObject({
      profile: 'air',
      device: alice.id,
      source: 'sensor',
      cell: '',
      group: '',
      timesMs: Float64Array.of(NOON),
      columns: [{ metric: 'temp', unit: 'Cel', type: 'float', values: Float64Array.of(21.5) }],
    });
  });

  test('relative times count from sealing: anchor offset + bootMs + 1000·t', () => {
    const log = new FakeLog();
    log.anchor(alice, NOON - 60_000);
    log.telemetry(
      alice,
      [
        [-20, 1],
        [-10, 2],
      ],
      { bootMs: 62_000 },
    );
    const { tables } = projectAll(log);
    expect(tables[0]!.text).toContain(`${NOON - 18_000},${NOON - 8000}`);
  });

  test('a boot without an anchor waits, and is placed when its anchor comes', () => {
    const log = new FakeLog();
    const first = log.telemetry(alice, [[-20, 1]], { bootMs: 30_000 });
    const second = log.telemetry(alice, [[-20, 1]], { bootMs: 40_000 });
    const before = projectAll(log);
    expect(before.outcomes).toEqual(['none', 'waiting', 'waiting']);
    expect(before.state.waiting).toBe(2);
    log.anchor(alice, NOON);
    const { tables, state } = projectAll(log);
    expect(tables.map(({ entry }) => entry)).toEqual([first, second]);
    expect(tables[0]!.text).toContain(`${NOON + 10_000}`);
    expect(state.waiting).toBe(0);
  });

  test('an anchor places only its own boot', () => {
    const log = new FakeLog();
    const other = { counter: 7, seed: Uint8Array.of(9, 9, 9, 9) };
    log.telemetry(alice, [[-20, 1]], { bootMs: 30_000, boot: other });
    log.telemetry(fakeDevice(2), [[-20, 1]], { bootMs: 30_000 });
    log.anchor(alice, NOON);
    expect(projectAll(log).tables).toEqual([]);
  });

  test('times that contradict the clock bound are refused, with the code of the specification', () => {
    const log = new FakeLog();
    log.batch(alice, { payload: senml('air/temp', 'Cel', [[-5, 1]]) });
    log.batch(alice, { payload: senml('air/temp', 'Cel', [[NOON / 1000, 1]]), boundMs: null });
    expect(projectAll(log).outcomes.slice(1)).toEqual(['ERR_TIME_RELATIVE', 'ERR_TIME_UNSYNCED']);
  });
});

describe('what tables are labelled with', () => {
  test('source of the birth of their boot, cell and group of the registry', () => {
    const log = new FakeLog();
    log.registry(alice, 'enrol', { name: 'roof', group: 'north', cell: '8a1f' });
    log.birth(alice, 'replay');
    log.telemetry(alice, [[NOON / 1000, 1]]);
    const next = { counter: 8, seed: BOOT.seed };
    log.telemetry(alice, [[NOON / 1000, 1]], { boot: next });
    log.registry(alice, 'credential', { name: 'roof', group: 'south', cell: '8a1f' });
    log.registry(alice, 'rename', { name: 'cellar' });
    log.telemetry(alice, [[NOON / 1000, 1]], { boot: next });
    log.registry(alice, 'site', { group: 'west', cell: '8b2e' });
    log.telemetry(alice, [[NOON / 1000, 1]], { boot: next });
    const { tables, state } = projectAll(log);
    expect(tables.map(({ text }) => text.split(' ').slice(2, 5))).toEqual([
      ['replay', '8a1f', 'north'],
      ['sensor', '8a1f', 'north'],
      ['sensor', '8a1f', 'south'],
      ['sensor', '8b2e', 'west'],
    ]);
    expect([...state.devices.values()][0]).toMatchObject({ id: alice.id, name: 'cellar' });
  });
});

describe('bodies that cannot be read', () => {
  const good = () => {
    const log = new FakeLog();
    log.telemetry(alice, [
      [NOON / 1000, 21.5],
      [NOON / 1000 + 1, 21.6],
    ]);
    return log.frames[1]!;
  };

  test('every cut and every changed byte of entry or body is an outcome, never a crash', () => {
    const { entry, body, index } = good();
    for (let i = 0; i < body.length; i++) {
      for (const bad of [body.subarray(0, i), body.map((b, j) => (j === i ? b ^ 0x41 : b))]) {
        expect(() => project({ index, entry, body: bad }, emptyState())).not.toThrow();
      }
    }
    for (let i = 0; i < entry.length; i++) {
      const bad = entry.subarray(0, i);
      const { outcome } = project({ index, entry: bad, body }, emptyState());
      expect(outcome).toMatchObject({ type: 'unprojectable', code: 'ERR_ENTRY_MALFORMED' });
    }
  });

  test('an erased body is told from a damaged one', () => {
    const { entry, body, index } = good();
    const erased = project({ index, entry, body: new Uint8Array(body.length) }, emptyState());
    expect(erased.outcome.type).toBe('erased');
  });

  test('results of edge functions are readings; the raw ones that they cover have no place', () => {
    const log = new FakeLog();
    const result = (seconds: number, readings: Uint8Array): Uint8Array =>
      encodeEdgeResult({
        ...{ format: readings.length === 0 ? 65001 : 112, readings },
        raw: { from: 0, to: 0, root: new Uint8Array(32) },
        streams: [
          {
            ...{ profile: 'air', metric: 'temp', definition: encode([['rate-1', {}]]), count: 6 },
            ...{ fromUs: (seconds - 60) * 1e6, toUs: seconds * 1e6 },
            ...{ before: null, after: new Uint8Array(32) },
          },
        ],
      });
    const edge = { kind: 'result', contentType: 65002 } as const;
    const unsynced = { ...edge, bootMs: 90_000, boundMs: null };
    const means = (seconds: number) => senml('air/temp.mean', 'Cel', [[seconds - 60, 21.5]]);
    log.batch(alice, { ...edge, payload: result(NOON / 1000, means(NOON / 1000)) });
    log.batch(alice, { ...edge, payload: result(NOON / 1000, new Uint8Array()) });
    log.batch(alice, { ...unsynced, payload: result(-1, means(-1)) });
    log.batch(alice, { ...unsynced, payload: result(NOON / 1000, new Uint8Array()) });
    log.anchor(alice, NOON - 120_000);
    const { outcomes, tables } = projectAll(log);
    expect(outcomes.slice(1)).toEqual([
      ...['readings', 'readings', 'waiting', 'ERR_TIME_UNSYNCED', 'readings', 'none'],
    ]);
    expect(tables.map(({ entry, text }) => [entry, text.split(' ').at(-1)])).toEqual([
      [1, `${NOON - 60_000}`],
      [3, `${NOON - 91_000}`],
    ]);
  });

  test('a task outcome and an event carry no readings', () => {
    const log = new FakeLog();
    const payload = Uint8Array.of(0xa0);
    log.batch(alice, { kind: 'result', contentType: 60, payload });
    log.batch(alice, { kind: 'event', contentType: 60, payload });
    expect(projectAll(log).outcomes.slice(1)).toEqual(['none', 'none']);
  });
});

describe('the state', () => {
  const logs = fc
    .array(
      fc.record({
        what: fc.constantFrom('telemetry', 'unsynced', 'anchor', 'birth', 'enrol'),
        device: fc.integer({ min: 0, max: 2 }),
        boot: fc.integer({ min: 1, max: 3 }),
      }),
      { maxLength: 25 },
    )
    .map((steps) => {
      const log = new FakeLog();
      const devices = [0, 1, 2].map(fakeDevice);
      for (const [i, step] of steps.entries()) {
        const device = devices[step.device]!;
        const boot = { counter: step.boot, seed: BOOT.seed };
        if (step.what === 'telemetry') log.telemetry(device, [[NOON / 1000 + i, i]], { boot });
        else if (step.what === 'unsynced') log.telemetry(device, [[-1, i]], { bootMs: i, boot });
        else if (step.what === 'anchor') log.anchor(device, NOON + i, boot);
        else if (step.what === 'birth') log.birth(device, i % 2 ? 'replay' : 'sensor', boot);
        else log.registry(device, 'enrol', { cell: `cell${i}`, group: 'g', name: 'n' });
      }
      return log;
    });

  test('written down anywhere and read back, it goes on as if nothing had been', () => {
    fc.assert(
      fc.property(logs, fc.nat(), (log, cut) => {
        const at = cut % (log.size + 1);
        const whole = projectAll(log);
        const first = new FakeLog();
        first.frames.splice(0, 1, ...log.frames.slice(0, at));
        const { state, tables } = projectAll(first);
        const restored = restoreState(structuredClone(dumpState(state)));
        const rest = projectAll(log, at, restored);
        expect([...tables, ...rest.tables]).toEqual(whole.tables);
        expect(dumpState(rest.state)).toEqual(dumpState(whole.state));
      }),
      { numRuns: 60 },
    );
  });

  test('no entry is projected twice, and each one with a known time once', () => {
    fc.assert(
      fc.property(logs, (log) => {
        const { tables, state, outcomes } = projectAll(log);
        const entries = tables.map(({ entry }) => entry);
        expect(new Set(entries).size).toBe(entries.length);
        const batches = outcomes.filter((o) => o === 'readings').length;
        expect(batches).toBe(entries.length);
        const waited = outcomes.filter((o) => o === 'waiting').length;
        const late = entries.filter((e, i) => entries.some((f, j) => j < i && f > e)).length;
        expect(state.waiting).toBeLessThanOrEqual(waited);
        expect(late).toBeLessThanOrEqual(waited);
      }),
      { numRuns: 60 },
    );
  });

  test('old boots are forgotten, and what waited for them is counted', () => {
    const log = new FakeLog();
    for (let counter = 0; counter < MAX_BOOTS + 3; counter++) {
      log.telemetry(alice, [[-1, 1]], { bootMs: 5000, boot: { counter, seed: BOOT.seed } });
    }
    const { state } = projectAll(log);
    expect(state).toMatchObject({ waiting: MAX_BOOTS, dropped: 3 });
  });
});
