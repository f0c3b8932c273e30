import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fromHex, toHex } from '@fieldproof/protocol/bytes';
import { encode } from '@fieldproof/protocol/cbor';
import {
  configEventOf,
  configOfBirth,
  configReportOf,
  MAX_REASONS,
} from '@fieldproof/protocol/config-report';
import {
  checkDesiredState,
  checkWishes,
  type DesiredState,
  digestOfState,
  encodeDesiredState,
  headOfState,
  MAX_DESIRED_STATE_BYTES,
} from '@fieldproof/protocol/desired-state';
import { decodeEvent, encodeEvent } from '@fieldproof/protocol/messages';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { REPOSITORY } from '../support/services.ts';

const good: DesiredState = {
  id: new Uint8Array(16).fill(7),
  issued: 1_795_262_400_000,
  version: 4,
  expires: 1_797_854_400_000,
  wanted: ['air', 'system/load'],
  intervals: { air: 30_000 },
  edge: { 'air/temp': 'window 1m mean' },
  preferences: { sealEveryMs: 60_000, heartbeatMs: 50_000 },
};

/** What is wrong with the good state after a change of its members. */
function problems(change: Record<string, unknown>): string[] {
  const { type = 'desired-state', ...rest } = { ...good, ...change } as Record<string, unknown>;
  const map = new Map(Object.entries({ type, ...rest }).filter(([, value]) => value !== GONE));
  return checkDesiredState(encode(map as never)).problems.map(({ path }) => path);
}
const GONE = Symbol('gone');

describe('a desired state', () => {
  test('comes back as it was encoded', () => {
    expect(checkDesiredState(encodeDesiredState(good))).toEqual({ state: good, problems: [] });
  });

  test('without wishes asks for what the owner has', () => {
    const { id, issued, version, expires } = good;
    const { state } = checkDesiredState(encodeDesiredState({ id, issued, version, expires }));
    expect(state).toEqual({ id, issued, version, expires });
  });

  test.each<[string, Record<string, unknown>, string[]]>([
    ['another type', { type: 'dance' }, ['type']],
    ['no id', { id: GONE }, ['id']],
    ['a short id', { id: new Uint8Array(15) }, ['id']],
    ['an id of text', { id: 'a'.repeat(16) }, ['id']],
    ['no version', { version: GONE }, ['version']],
    ['version 0', { version: 0 }, ['version']],
    ['a negative version', { version: -1 }, ['version']],
    ['a version of text', { version: '4' }, ['version']],
    ['a version with a fraction', { version: 1.5 }, ['version']],
    ['a huge version', { version: 2n ** 60n }, ['version']],
    ['no time of issue', { issued: GONE }, ['issued']],
    ['no end', { expires: GONE }, ['expires']],
    ['an end at the time of issue', { expires: good.issued }, ['expires']],
    ['an end after eleven years', { expires: good.issued + 11 * 31_536_000_000 }, ['expires']],
    ['a key that is not known', { command: 'rm -rf /' }, ['state']],
    ['wanted that is no list', { wanted: 'air' }, ['wanted']],
    [
      'wanted that is no name',
      { wanted: ['Air', 'air/', '/etc', 3] },
      ['wanted[0]', 'wanted[1]', 'wanted[2]', 'wanted[3]'],
    ],
    ['wanted twice', { wanted: ['air', 'air'] }, ['wanted[1]']],
    ['too much wanted', { wanted: Array.from({ length: 257 }, (_, i) => `p${i}`) }, ['wanted']],
    ['intervals that are no map', { intervals: [1000] }, ['intervals']],
    ['an interval of a metric', { intervals: { 'air/temp': 1000 } }, ['intervals']],
    ['an interval of 99 ms', { intervals: { air: 99 } }, ['intervals.air']],
    ['an interval of two days', { intervals: { air: 172_800_000 } }, ['intervals.air']],
    ['an edge function of a profile', { edge: { air: 'window 1m' } }, ['edge']],
    ['an empty edge function', { edge: { 'air/temp': '' } }, ['edge.air/temp']],
    ['a long edge function', { edge: { 'air/temp': 'x'.repeat(1001) } }, ['edge.air/temp']],
    ['an unknown preference', { preferences: { path: '/etc/passwd' } }, ['preferences']],
    [
      'a preference out of range',
      { preferences: { heartbeatMs: 60_000 } },
      ['preferences.heartbeatMs'],
    ],
    [
      'sealing every hour',
      { preferences: { sealEveryMs: 3_600_000 } },
      ['preferences.sealEveryMs'],
    ],
  ])('with %s is a mistake', (_name, change, expected) => {
    expect(problems(change)).toEqual(expected);
  });

  test('all mistakes are found at once', () => {
    expect(problems({ id: GONE, version: 0, wanted: 3, intervals: { air: 1 }, more: 1 })).toEqual([
      ...['id', 'version', 'state', 'wanted', 'intervals.air'],
    ]);
  });

  test('what is no map, or too long, is refused; its head is read where there is one', () => {
    expect(checkDesiredState(encode([1])).problems).toHaveLength(1);
    expect(checkDesiredState(new Uint8Array(MAX_DESIRED_STATE_BYTES + 1)).problems).toHaveLength(1);
    expect(() => checkDesiredState(Uint8Array.of(0xff))).toThrow();
    expect(headOfState(Uint8Array.of(0xff))).toEqual({});
    const { id, version } = good;
    expect(headOfState(encode({ id, version, wanted: 3 }))).toEqual({ id, version });
  });

  test('is not encoded with mistakes', () => {
    expect(() => encodeDesiredState({ ...good, version: 0 })).toThrow(
      expect.objectContaining({ code: 'ERR_CONFIG_INVALID' }),
    );
  });

  test('wishes as a person writes them are checked alike', () => {
    expect(checkWishes({ intervals: { air: 30_000 } })).toEqual([]);
    expect(checkWishes({ intervals: { air: '30s' }, exec: 'sh' }).map(({ path }) => path)).toEqual([
      'state',
      'intervals.air',
    ]);
    expect(checkWishes([1])).toHaveLength(1);
    expect(checkWishes(null)).toHaveLength(1);
  });
});

describe('any bytes', () => {
  test('give a state, mistakes or a protocol error, and nothing else', () => {
    const payload = encodeDesiredState(good);
    for (let at = 0; at < payload.length * 8; at += 1) {
      const bad = Uint8Array.from(payload);
      bad[at >> 3]! ^= 1 << (at & 7);
      judge(bad);
    }
    fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), judge));
  });

  function judge(bytes: Uint8Array): void {
    try {
      const { state, problems } = checkDesiredState(bytes);
      expect(state === undefined).toBe(problems.length > 0);
    } catch (error) {
      expect((error as { code: string }).code).toMatch(/^ERR_CBOR_/);
    }
    headOfState(bytes);
  }
});

describe('the published payloads', () => {
  const { cases } = JSON.parse(
    readFileSync(resolve(REPOSITORY, 'protocol/vectors/config.json'), 'utf8'),
  ) as { cases: { name: string; hex: string; inputs: { sha256: string } }[] };
  const payload = (name: string) => fromHex(cases.find((each) => each.name === name)!.hex);

  test('are right, or have the mistakes that they are said to have', () => {
    const right = payload('desired state');
    expect(checkDesiredState(right).state).toMatchObject({ version: 4 });
    expect(toHex(digestOfState(right))).toBe(cases[0]!.inputs.sha256);
    expect(checkDesiredState(payload('payload with mistakes')).problems).toHaveLength(5);
  });
});

describe('a report', () => {
  const digest = new Uint8Array(32).fill(1);

  test('comes back from its event, with at most so many reasons', () => {
    const reasons = Array.from({ length: 20 }, (_, i) => `${i}: ${'x'.repeat(300)}`);
    const { event, detail } = configEventOf({
      ...{ outcome: 'refused', id: good.id, version: 4, digest, code: 'ERR_CONFIG_INVALID' },
      ...{ reasons, newest: 4, inForce: 3 },
    });
    const report = configReportOf(decodeEvent(encodeEvent({ event, detail })));
    expect(report).toMatchObject({
      outcome: 'refused',
      version: 4,
      more: 4,
      newest: 4,
      inForce: 3,
    });
    expect(report!.reasons).toHaveLength(MAX_REASONS);
    expect(report!.reasons.every((reason) => reason.length <= 200)).toBe(true);
  });

  test('of another event, or without a digest, is none; strange members are left out', () => {
    expect(configReportOf({ event: 'heartbeat' })).toBeUndefined();
    expect(configReportOf({ event: 'config-applied', detail: { version: 1 } })).toBeUndefined();
    const detail = { digest, version: -1, id: 'x', code: '<b>', reasons: [1, 'a'], newest: 'x' };
    expect(configReportOf({ event: 'config-applied', detail })).toEqual({
      ...{ outcome: 'applied', digest, reasons: ['a'], more: 0, newest: 0, inForce: 0 },
    });
  });

  test('of a birth is read, and none is there from a device that knows none', () => {
    const config = new Map<string, never>(
      Object.entries({ allow: true, newest: 3, inForce: 2, digest }) as never,
    );
    expect(configOfBirth({ capabilities: { config } })).toEqual({
      allow: true,
      newest: 3,
      inForce: 2,
      digest,
    });
    expect(configOfBirth({ capabilities: {} })).toBeUndefined();
    expect(configOfBirth({ capabilities: { config: 3 } })).toBeUndefined();
  });
});
