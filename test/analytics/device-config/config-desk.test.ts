/** What control does with desired states: versions, retries, answers, and what the file of them survives. */
import { appendFile, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  ConfigDesk,
  type ConfigDeskOptions,
} from '@fieldproof/analytics/device-config/config-desk';
import { ConfigHistory } from '@fieldproof/analytics/device-config/config-history';
import { AnalyticsError } from '@fieldproof/analytics/errors';
import { fromHex } from '@fieldproof/protocol/bytes';
import type { ConfigReport } from '@fieldproof/protocol/config-report';
import { checkDesiredState } from '@fieldproof/protocol/desired-state';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import pino from 'pino';

const DEVICE = 'z6MkA';
const HOUR = 3_600_000;
const START = Date.parse('2026-11-21T12:00:00Z');

let folder: string;
let nowMs: number;
/** What `send` does, and what it was given. */
let send: (device: string) => boolean;
let sent: number[];
let waiting: { dueMs: number; work: () => void } | undefined;
let desks: { desk: ConfigDesk; history: ConfigHistory }[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fieldproof-desk-'));
  nowMs = START;
  send = () => true;
  sent = [];
  waiting = undefined;
  desks = [];
});

afterEach(async () => {
  for (const { desk, history } of desks) {
    await desk.stop();
    await history.close();
  }
  await rm(folder, { recursive: true });
});

const path = () => join(folder, 'history.jsonl');

async function openDesk(options: Partial<ConfigDeskOptions> = {}): Promise<ConfigDesk> {
  const { history, records } = await ConfigHistory.open(path());
  const desk = new ConfigDesk({
    ...{ history, records, clock: () => nowMs, log: pino({ level: 'silent' }) },
    sender: {
      send: async (device, payload) => {
        sent.push(checkDesiredState(payload).state!.version);
        return send(device);
      },
      evidenceSize: async () => 0,
    },
    later: (ms, work) => {
      waiting = { dueMs: nowMs + ms, work };
      return () => {
        waiting = undefined;
      };
    },
    ...options,
  });
  desks.push({ desk, history });
  desk.start();
  return desk;
}

/** Lets time pass; timers on the way fire. */
async function pass(ms: number): Promise<void> {
  const endMs = nowMs + ms;
  while (waiting !== undefined && waiting.dueMs <= endMs) {
    const { dueMs, work } = waiting;
    waiting = undefined;
    nowMs = Math.max(nowMs, dueMs);
    work();
    await new Promise((done) => setTimeout(done, 5));
  }
  nowMs = endMs;
}

const issue = (desk: ConfigDesk, device = DEVICE, lifeMs = HOUR) =>
  desk.issue({
    device,
    wishes: { intervals: { air: 1000 } },
    expiresMs: nowMs + lifeMs,
    by: 'ops',
  });

const standing = (desk: ConfigDesk) => desk.of(DEVICE).states.map((state) => state.standing);

function answer(desk: ConfigDesk, report: Partial<ConfigReport>, entry = 7): Promise<void> {
  const { digest, version } = desk.of(DEVICE).states[0]!;
  const full: ConfigReport = {
    ...{ outcome: 'applied', version, digest: fromHex(digest), reasons: [], more: 0 },
    ...{ newest: version, inForce: version, ...report },
  };
  return desk.reported(DEVICE, full, { entry, atMs: nowMs });
}

describe('versions', () => {
  test('of two who issue at once: the second is told, when it says what it has seen', async () => {
    const desk = await openDesk();
    const by = (ifVersion: number) =>
      desk.issue({ device: DEVICE, wishes: {}, expiresMs: nowMs + HOUR, by: 'ops', ifVersion });
    const both = await Promise.allSettled([by(0), by(0)]);
    expect(both).toMatchObject([
      { status: 'fulfilled' },
      { status: 'rejected', reason: { code: 'ERR_CONFIG_CONFLICT' } },
    ]);
    expect((await by(1)).states).toHaveLength(2);
  });

  test('are not used up by what a faulty device says, and follow what it says last', async () => {
    const desk = await openDesk();
    await issue(desk);
    await answer(desk, { newest: Number.MAX_SAFE_INTEGER });
    expect((await issue(desk)).states[0]!.version).toBe(2);
    await answer(desk, { newest: 40 });
    await answer(desk, { newest: 7 }, 8);
    expect((await issue(desk)).states[0]!.version).toBe(8);
  });

  test('that are over are shown so, also of a device that has not said it', async () => {
    const desk = await openDesk();
    await issue(desk);
    await answer(desk, {});
    await pass(HOUR);
    expect(standing(desk)).toEqual(['expired']);
  });
});

describe('a state that is issued', () => {
  test('is sent at once, with growing pauses until it is answered, and not afterwards', async () => {
    const desk = await openDesk();
    await issue(desk);
    expect(sent).toEqual([1]);
    await pass(40_000);
    expect(sent).toHaveLength(4);
    await answer(desk, {});
    await pass(HOUR / 2);
    expect(sent).toHaveLength(4);
    expect(standing(desk)).toEqual(['applied']);
  });

  test('is not sent again and again to a device that is away, but at its birth', async () => {
    send = () => false;
    const desk = await openDesk();
    await issue(desk);
    await pass(500_000);
    expect(sent).toHaveLength(1);
    send = () => true;
    await desk.born(DEVICE, { allow: true, newest: 0, inForce: 0 }, { entry: 1, atMs: nowMs });
    await pass(0);
    expect(sent).toHaveLength(2);
  });

  test('survives a broker that is away and a restart of this process', async () => {
    send = () => {
      throw new AnalyticsError('ERR_CONFIG_UNAVAILABLE', 'broker: no answer');
    };
    const desk = await openDesk();
    const { delivery } = await issue(desk);
    expect(delivery).toMatchObject({
      connected: null,
      problem: { code: 'ERR_CONFIG_UNAVAILABLE' },
    });
    await desk.stop();
    send = () => true;
    const again = await openDesk();
    await pass(0);
    expect(sent).toEqual([1, 1]);
    expect(again.of(DEVICE).states[0]).toMatchObject({ by: 'ops', standing: 'waiting' });
  });

  test('is not sent when its time is over', async () => {
    send = () => false;
    const desk = await openDesk();
    await issue(desk, DEVICE, 60_000);
    await pass(2 * HOUR);
    expect(sent).toHaveLength(1);
    expect(standing(desk)).toEqual(['expired']);
    await desk.born(DEVICE, undefined, { entry: 1, atMs: nowMs });
    await pass(0);
    expect(sent).toHaveLength(1);
  });

  test('has a version above all that was issued and that the device has judged', async () => {
    const desk = await openDesk();
    await issue(desk);
    await answer(desk, { outcome: 'refused', code: 'ERR_CONFIG_STALE', newest: 41, inForce: 0 });
    const { states } = await issue(desk);
    expect(states.map((state) => state.version)).toEqual([42, 1]);
  });

  test('with mistakes is not issued', async () => {
    const desk = await openDesk();
    const wishes = { intervals: { air: 1 } };
    await expect(
      desk.issue({ device: DEVICE, wishes, expiresMs: nowMs + HOUR, by: 'ops' }),
    ).rejects.toMatchObject({ code: 'ERR_CONFIG_INVALID' });
    expect(desk.of(DEVICE).states).toEqual([]);
    expect(await readFile(path(), 'utf8')).toBe('');
  });
});

describe('answers', () => {
  test('are kept with entry and reasons, once each, over a restart', async () => {
    const desk = await openDesk();
    await issue(desk);
    const refused = {
      outcome: 'refused',
      code: 'ERR_CONFIG_INVALID',
      reasons: ['air: no'],
    } as const;
    await answer(desk, refused, 7);
    await answer(desk, refused, 8);
    await desk.stop();
    const again = await openDesk();
    expect(again.of(DEVICE).states[0]!.reports).toEqual([
      expect.objectContaining({ entry: 7, reasons: ['air: no'] }),
    ]);
    expect(standing(again)).toEqual(['refused']);
  });

  test('a refusal leaves the state before in force; what is applied replaces it', async () => {
    const desk = await openDesk();
    await issue(desk);
    await answer(desk, {}, 5);
    await issue(desk);
    await answer(desk, { outcome: 'refused', code: 'ERR_CONFIG_INVALID', inForce: 1 }, 6);
    expect(standing(desk)).toEqual(['refused', 'applied']);
    await issue(desk);
    await answer(desk, {}, 7);
    expect(standing(desk)).toEqual(['applied', 'refused', 'replaced']);
  });

  test('of a hostile device do not fill the disk', async () => {
    const desk = await openDesk();
    await issue(desk);
    for (let at = 0; at < 200; at += 1) await answer(desk, { reasons: [`${at}`] }, at);
    expect(desk.of(DEVICE).states[0]!.reports).toHaveLength(32);
    await answer(desk, { digest: new Uint8Array(32) });
    await desk.reported('z6MkOther', { digest: new Uint8Array(32) } as ConfigReport, {
      entry: 1,
      atMs: 1,
    });
    expect(desk.knows('z6MkOther')).toBe(false);
  });

  test('a birth with the state in force stands for a report that was lost', async () => {
    const desk = await openDesk();
    await issue(desk);
    const digest = fromHex(desk.of(DEVICE).states[0]!.digest);
    await desk.born(
      DEVICE,
      { allow: true, newest: 1, inForce: 1, digest },
      { entry: 3, atMs: nowMs },
    );
    expect(standing(desk)).toEqual(['applied']);
    expect(desk.of(DEVICE).states[0]!.reports[0]).toMatchObject({ entry: 3, outcome: 'applied' });
  });

  test('a device that lost its state gets it again; one that refused it does not', async () => {
    const desk = await openDesk();
    await issue(desk);
    await answer(desk, {});
    const blank = { allow: true, newest: 0, inForce: 0 };
    await desk.born(DEVICE, blank, { entry: 9, atMs: nowMs });
    await pass(0);
    expect(sent).toEqual([1, 1]);
    await answer(desk, { outcome: 'rolled-back', code: 'ERR_CONFIG_NO_READINGS' });
    await desk.born(DEVICE, blank, { entry: 11, atMs: nowMs });
    await pass(HOUR / 2);
    expect(sent).toEqual([1, 1]);
  });

  test('an end before its time, as after a change of the key, means that it is sent again', async () => {
    const desk = await openDesk();
    await issue(desk);
    await answer(desk, { outcome: 'expired', reasons: ['it does not verify any more'] });
    expect(standing(desk)).toEqual(['waiting']);
    await pass(10_000);
    expect(sent.length).toBeGreaterThan(1);
  });
});

describe('the file', () => {
  test('drops a torn last line and says so, and goes on', async () => {
    const desk = await openDesk();
    await issue(desk);
    await desk.stop();
    await appendFile(path(), '{"type":"issued","devi');
    const { history, records, problems } = await ConfigHistory.open(path());
    expect(records).toHaveLength(1);
    expect(problems).toEqual([expect.stringContaining('torn')]);
    await history.append(records[0]!);
    await history.close();
    const text = await readFile(path(), 'utf8');
    expect(
      text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).version),
    ).toEqual([1, 1]);
    expect((await stat(path())).mode & 0o777).toBe(0o600);
  });

  test('passes over what cannot be read, and over payloads that are not those of their digest', async () => {
    const desk = await openDesk();
    await issue(desk);
    await issue(desk);
    await desk.stop();
    const [first, second] = (await readFile(path(), 'utf8')).trim().split('\n');
    const other = first!.replace(/"payload":"..../, '"payload":"AAAA');
    await writeFile(path(), `${other}\nnot json\nnull\n{"type":"issued"}\n${second}\n`);
    const { history, records, problems } = await ConfigHistory.open(path());
    await history.close();
    expect([records.length, problems.length]).toEqual([2, 3]);
    const again = await openDesk();
    expect(again.of(DEVICE).states.map(({ version }) => version)).toEqual([2]);
  });
});
