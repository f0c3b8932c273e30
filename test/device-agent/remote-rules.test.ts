import {
  judgeWishes,
  type OwnSettings,
  ownSettings,
  type Surroundings,
} from '@fieldproof/device-agent/remote-rules';
import { REMOTE_SETTINGS, type RemoteSettings } from '@fieldproof/device-agent/remote-settings';
import { judgeWatch, type Watch } from '@fieldproof/device-agent/remote-watch';
import type { Wishes } from '@fieldproof/protocol/desired-state';
import { describe, expect, test } from '@jest/globals';

const own: OwnSettings = {
  sensors: [
    { driver: 'sysfs', profile: 'air', intervalMs: 10_000, options: {} },
    { driver: 'mqtt', profile: 'home', intervalMs: 10_000, options: {} },
    { driver: 'exec', profile: 'rig', intervalMs: 500, options: {} },
  ],
  edge: { 'air/temp': { key: 'temp', text: 'window 1m mean', send: 'both' } },
  batch: { sealEveryMs: 10_000 },
  link: { heartbeatMs: 50_000 },
};
const known = new Map([
  ['air', { kind: 'pull', metrics: ['temp', 'rh'] }],
  ['home', { kind: 'push', metrics: ['kitchen'] }],
] as const);

function judge(wishes: Wishes, remote: Partial<RemoteSettings> = {}) {
  const surroundings: Surroundings = {
    ...{ own, known: new Map(known) },
    remote: REMOTE_SETTINGS(remote, 'remote', []),
    edgeMistakes: (stream) => (wishes.edge?.[stream]?.startsWith('window') ? [] : ['at 1']),
  };
  return judgeWishes(wishes, surroundings);
}

const paths = (wishes: Wishes, remote?: Partial<RemoteSettings>): string[] =>
  judge(wishes, remote).objections.map(({ path, isLimit }) => `${path}${isLimit ? ' limit' : ''}`);

describe('what an operator may ask for', () => {
  test('nothing asked for is the configuration of the owner', () => {
    const { keeps: _keeps, ...effective } = judge({}).effective!;
    const { keeps: _own, ...expected } = ownSettings(own);
    expect(effective).toEqual(expected);
  });

  test('only what is wanted is sampled and kept', () => {
    const { sensors, keeps } = judge({ wanted: ['air/temp', 'rig'] }).effective!;
    expect(sensors.map(({ profile }) => profile)).toEqual(['air', 'rig']);
    expect([keeps('air', 'temp'), keeps('air', 'rh'), keeps('rig', 'any')]).toEqual([
      true,
      false,
      true,
    ]);
    expect(judge({ wanted: [] }).effective!.sensors).toEqual([]);
  });

  test('intervals, edge functions and preferences take the place of those of the file', () => {
    const effective = judge({
      intervals: { air: 30_000 },
      edge: { 'air/rh': 'window 5m max' },
      preferences: { sealEveryMs: 60_000, heartbeatMs: 55_000 },
    }).effective!;
    expect(effective.sensors.map(({ intervalMs }) => intervalMs)).toEqual([30_000, 10_000, 500]);
    expect(effective.edge).toEqual({
      ...own.edge,
      'air/rh': { key: 'air/rh', text: 'window 5m max', send: 'results' },
    });
    expect(effective).toMatchObject({ sealEveryMs: 60_000, heartbeatMs: 55_000 });
  });

  test.each<[string, Wishes, string[]]>([
    ['a profile that the device does not have', { wanted: ['attic'] }, ['wanted[0]']],
    ['a metric that its sensor does not have', { wanted: ['air', 'air/dust'] }, ['wanted[1]']],
    [
      'an interval of a profile that is not there',
      { intervals: { constructor: 5000 } },
      ['intervals.constructor'],
    ],
    [
      'an interval of a sensor that speaks by itself',
      { intervals: { home: 5000 } },
      ['intervals.home'],
    ],
    ['an edge function that is none', { edge: { 'air/rh': 'widow' } }, ['edge.air/rh']],
    [
      'an edge function of a stream that is not wanted',
      { wanted: ['rig'], edge: { 'air/rh': 'window 1m' } },
      ['edge.air/rh'],
    ],
  ])('%s is a mistake', (_name, wishes, expected) => {
    expect(paths(wishes)).toEqual(expected);
  });

  test.each<[string, Wishes, Partial<RemoteSettings>, string[]]>([
    ['more often than allowed', { intervals: { air: 900 } }, {}, ['intervals.air limit']],
    [
      'less often than allowed',
      { intervals: { air: 60_001 } },
      { maxIntervalMs: 60_000 },
      ['intervals.air limit'],
    ],
    [
      'the file has a definition',
      { edge: { 'air/temp': 'window 2m mean' } },
      {},
      ['edge.air/temp limit'],
    ],
    [
      'edge functions are refused',
      { edge: { 'air/rh': 'window 2m mean' } },
      { edge: 'refuse' },
      ['edge.air/rh limit'],
    ],
    [
      'sealing too often',
      { preferences: { sealEveryMs: 500 } },
      {},
      ['preferences.sealEveryMs limit'],
    ],
    [
      'sealing too seldom',
      { preferences: { sealEveryMs: 60_001 } },
      {},
      ['preferences.sealEveryMs limit'],
    ],
    [
      'signs of life too often',
      { preferences: { heartbeatMs: 2000 } },
      {},
      ['preferences.heartbeatMs limit'],
    ],
  ])('%s is a limit of the owner', (_name, wishes, remote, expected) => {
    expect(paths(wishes, remote)).toEqual(expected);
  });

  test("the file's own values are always allowed, and `replace` opens its edge functions", () => {
    expect(paths({ intervals: { rig: 500, air: 1000 } })).toEqual([]);
    expect(paths({ edge: { 'air/temp': 'window 1m mean' } })).toEqual([]);
    expect(paths({ edge: { 'air/temp': 'window 2m mean' } }, { edge: 'replace' })).toEqual([]);
  });

  test('metrics of a sensor that is not open, or that may grow, are taken', () => {
    expect(paths({ wanted: ['rig/anything', 'home/bath'] })).toEqual([]);
  });

  test('every objection is named at once', () => {
    expect(
      paths({ wanted: ['attic', 'air'], intervals: { air: 1 }, edge: { 'rig/x': '' } }),
    ).toHaveLength(4);
  });
});

describe('the watch over a change', () => {
  const watch: Watch = {
    sensors: [
      { profile: 'air', intervalMs: 1000, gaveBefore: true, readings: 5 },
      { profile: 'rig', intervalMs: 4000, gaveBefore: false, readings: 0 },
      { profile: 'home', intervalMs: undefined, gaveBefore: true, readings: 9 },
    ],
    startedMs: 100,
    graceMs: 500,
  };
  const at = (nowMs: number, counts: Record<string, number>) =>
    judgeWatch(watch, new Map(Object.entries(counts)), nowMs).type;

  test('it is proved when each sensor that gave readings gives them again', () => {
    expect(at(200, { air: 5, home: 9 })).toBe('waiting');
    expect(at(200, { air: 6, home: 9 })).toBe('proved');
  });

  test('it has failed when one is silent for three intervals and the grace', () => {
    expect(at(3599, { air: 5, rig: 7 })).toBe('waiting');
    expect(at(3600, { air: 5, rig: 7 })).toBe('failed');
  });

  test('where none gave readings before, one must now', () => {
    const none = { ...watch, sensors: [{ ...watch.sensors[1]! }] };
    expect(judgeWatch(none, new Map(), 12_599).type).toBe('waiting');
    expect(judgeWatch(none, new Map(), 12_600).type).toBe('failed');
    expect(judgeWatch(none, new Map([['rig', 1]]), 12_600).type).toBe('proved');
  });

  test('where nothing is asked, nothing can be missed', () => {
    expect(judgeWatch({ ...watch, sensors: [] }, new Map(), 100).type).toBe('proved');
    expect(judgeWatch({ ...watch, sensors: [watch.sensors[2]!] }, new Map(), 100).type).toBe(
      'proved',
    );
  });
});
