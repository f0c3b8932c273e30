/** Desired states on a device: versions, ends, the way back, and what survives a restart or a torn file. */

import { mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '@fieldproof/device-agent/log';
import { RemoteConfig, type RemoteConfigOptions } from '@fieldproof/device-agent/remote-config';
import {
  decodeRemoteRecord,
  loadRemoteRecord,
  NO_RECORD,
  REMOTE_FILE,
  saveRemoteRecord,
} from '@fieldproof/device-agent/remote-file';
import { type EffectiveSettings, judgeWishes } from '@fieldproof/device-agent/remote-rules';
import { REMOTE_SETTINGS } from '@fieldproof/device-agent/remote-settings';
import { type CborValue, encode } from '@fieldproof/protocol/cbor';
import { type ConfigReport, configReportOf } from '@fieldproof/protocol/config-report';
import { encodeDesiredState, type Wishes } from '@fieldproof/protocol/desired-state';
import { kidOf } from '@fieldproof/protocol/ed25519';
import { signerFromSeed, verify } from '@fieldproof/protocol/ed25519-node';
import { CONTENT_TYPES, downAad, open, seal } from '@fieldproof/protocol/envelope';
import { decodeEvent, encodeEvent } from '@fieldproof/protocol/messages';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { type FakeClock, fakeClock, until } from './fake-clock.ts';
import { FragileDisk } from './fragile-disk.ts';

const control = signerFromSeed(new Uint8Array(32).fill(3));
const aad = downAad('testnet1', 'config', 'device');
const own = {
  sensors: [{ driver: 'exec', profile: 'air', intervalMs: 10_000, options: {} }],
  ...{ edge: {}, batch: { sealEveryMs: 10_000 }, link: { heartbeatMs: 50_000 } },
};

let folder: string;
let clock: FakeClock;
let reports: ConfigReport[];
let applied: (EffectiveSettings | null)[];
let readings: Map<string, number>;
let boundMs: number | null;
let opened: RemoteConfig[];
let keyId: Uint8Array;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'remote-'));
  clock = fakeClock();
  reports = [];
  applied = [];
  readings = new Map([['air', 10]]);
  boundMs = 20;
  opened = [];
  keyId = kidOf(control.publicKey);
});

afterEach(async () => {
  for (const each of opened) await each.stop();
  await rm(folder, { recursive: true });
});

async function start(change: Partial<RemoteConfigOptions> = {}): Promise<RemoteConfig> {
  const remote = new RemoteConfig({
    ...{ folder, clock, log: silentLog },
    settings: REMOTE_SETTINGS(undefined, 'remote', []),
    wall: () => ({ wallMs: clock.wallMs(), boundMs }),
    open: (bytes) =>
      open(bytes, { externalAad: aad, publicKey: control.publicKey, verify }).payload,
    keyId: () => keyId,
    judge: async (wishes) =>
      judgeWishes(wishes, {
        ...{ own, known: new Map(), edgeMistakes: () => [] },
        remote: REMOTE_SETTINGS(undefined, 'remote', []),
      }),
    apply: async (effective) => {
      applied.push(effective);
    },
    sensors: () => [{ profile: 'air', intervalMs: 10_000, gaveBefore: true }],
    readings: () => readings,
    report: async (event, detail) => {
      reports.push(configReportOf(decodeEvent(encodeEvent({ event, detail })))!);
    },
    onChange: () => {},
    ...change,
  });
  opened.push(remote);
  await remote.load();
  await remote.started();
  return remote;
}

function payloadOf(version: number, wishes: Wishes = {}, expiresInMs = 3_600_000): Uint8Array {
  return encodeDesiredState({
    ...{ id: new Uint8Array(16).fill(version), issued: clock.wallMs() - 3_600_000, version },
    ...{ expires: clock.wallMs() + expiresInMs, ...wishes },
  });
}

async function give(
  remote: RemoteConfig,
  payload: Uint8Array,
  signer = control,
): Promise<ConfigReport> {
  const envelope = seal({ contentType: CONTENT_TYPES.cbor, payload, externalAad: aad, signer });
  await remote.receive(envelope, payload);
  return reports.at(-1)!;
}

const prove = async () => {
  readings.set('air', (readings.get('air') ?? 0) + 1);
  await clock.advance(600);
  await until(() => opened.at(-1)!.status().inForce?.trial === false, 'the proof');
};

const outcomes = () => reports.map(({ outcome, version, code }) => [outcome, version, code]);

describe('another control key', () => {
  const next = signerFromSeed(new Uint8Array(32).fill(4));
  const MAX = Number.MAX_SAFE_INTEGER;

  test('ends what is in force under the one before, and its versions with it', async () => {
    const remote = await start();
    const stolen = encodeDesiredState({
      ...{ id: new Uint8Array(16), issued: clock.wallMs(), version: MAX },
      expires: clock.wallMs() + 3_600_000,
    });
    await give(remote, stolen);
    await give(remote, payloadOf(2));
    keyId = kidOf(next.publicKey);
    await remote.check();
    expect(remote.capability()).toMatchObject({ newest: 0, inForce: 0 });
    await give(remote, payloadOf(2, { intervals: { air: 5000 } }), next);
    await give(remote, payloadOf(1), next);
    expect(outcomes()).toEqual([
      ['applied', MAX, undefined],
      ['refused', 2, 'ERR_CONFIG_STALE'],
      ['expired', MAX, undefined],
      ['applied', 2, undefined],
      ['refused', 1, 'ERR_CONFIG_STALE'],
    ]);
    expect(reports[2]!.reasons[0]).toMatch(/control key/);
  });

  test('takes what the one before has signed of the same version, once it is signed anew', async () => {
    const remote = await start();
    const payload = payloadOf(4, { intervals: { air: 5000 } });
    await give(remote, payload);
    keyId = kidOf(next.publicKey);
    await remote.check();
    expect((await give(remote, payload, next)).outcome).toBe('applied');
    expect(remote.status().inForce?.version).toBe(4);
  });
});

describe('sensors that speak by themselves', () => {
  const door = { profile: 'door', intervalMs: undefined, gaveBefore: true };

  test('lead back never; of one that is silent for too long it is said, once', async () => {
    readings.set('door', 5);
    const sensors = () => [
      { profile: 'air', intervalMs: 10_000, gaveBefore: true },
      { ...door, longestSilenceMs: 60_000 },
      { ...door, profile: 'bell' },
    ];
    const remote = await start({ sensors });
    await give(remote, payloadOf(1, { intervals: { air: 5000 } }));
    await prove();
    await clock.advance(180_000);
    expect(reports).toHaveLength(1);
    await clock.advance(40_000);
    await until(() => reports.length === 2, 'the remark');
    expect(reports[1]).toMatchObject({
      ...{ outcome: 'applied', version: 1, inForce: 1 },
      reasons: [expect.stringMatching(/^door: no reading since, for 3 times its longest silence/)],
    });
    await clock.advance(400_000);
    expect([reports.length, applied.length]).toEqual([2, 1]);
  });
});

describe('a refusal', () => {
  test('is reported whatever half of a character its reasons were cut at', async () => {
    const remote = await start();
    for (let length = 40; length < 64; length++) {
      const wanted = [`${'x'.repeat(length)}${'\u{1f33b}'.repeat(10)}`];
      const payload = encode(
        new Map<string, CborValue>([
          ...Object.entries({ type: 'desired-state', id: new Uint8Array(16), version: length }),
          ...Object.entries({ issued: clock.wallMs(), expires: clock.wallMs() + 1000, wanted }),
        ]),
      );
      expect(await give(remote, payload)).toMatchObject({
        ...{ outcome: 'refused', version: length, code: 'ERR_CONFIG_INVALID' },
      });
    }
  });

  test('of one from a day that has not come, when the clock is believed', async () => {
    const remote = await start();
    const far = clock.wallMs() + 3 * 86_400_000;
    const payload = (version: number) =>
      encodeDesiredState({
        ...{ id: new Uint8Array(16), issued: far, version, expires: far + 1000 },
      });
    expect(await give(remote, payload(1))).toMatchObject({
      ...{ outcome: 'refused', code: 'ERR_CONFIG_INVALID' },
      reasons: [expect.stringMatching(/^issued: expected at most a day after/)],
    });
    boundMs = null;
    expect((await give(remote, payload(2))).outcome).toBe('applied');
  });
});

describe('versions', () => {
  test('only ascend', async () => {
    const remote = await start();
    await give(remote, payloadOf(5, { intervals: { air: 5000 } }));
    await give(remote, payloadOf(4));
    await give(remote, payloadOf(5, { intervals: { air: 6000 } }));
    await give(remote, payloadOf(6, { intervals: { air: 7000 } }));
    expect(outcomes()).toEqual([
      ['applied', 5, undefined],
      ['refused', 4, 'ERR_CONFIG_STALE'],
      ['refused', 5, 'ERR_CONFIG_STALE'],
      ['applied', 6, undefined],
    ]);
    expect(reports[1]).toMatchObject({ newest: 5, inForce: 5 });
    expect(applied.map((each) => each?.sensors[0]?.intervalMs)).toEqual([5000, 7000]);
  });

  test('that come twice are reported again, and applied once', async () => {
    const remote = await start();
    const payload = payloadOf(1, { intervals: { air: 5000 } });
    await give(remote, payload);
    await give(remote, payload);
    expect(outcomes()).toEqual([
      ['applied', 1, undefined],
      ['applied', 1, undefined],
    ]);
    expect(applied).toHaveLength(1);
  });

  test('that were refused are not gone back behind; the state before stays in force', async () => {
    const remote = await start();
    await give(remote, payloadOf(1, { intervals: { air: 5000 } }));
    const refused = await give(remote, payloadOf(3, { intervals: { attic: 5000 } }));
    expect(refused).toMatchObject({ code: 'ERR_CONFIG_INVALID', newest: 3, inForce: 1 });
    expect((await give(remote, payloadOf(2))).code).toBe('ERR_CONFIG_STALE');
    expect(remote.status()).toMatchObject({
      inForce: { version: 1 },
      last: { outcome: 'refused' },
    });
  });

  test('survive a restart, with the state in force', async () => {
    await give(await start(), payloadOf(5, { intervals: { air: 5000 } }));
    await prove();
    await opened[0]!.stop();
    const again = await start();
    expect(again.effective?.sensors[0]?.intervalMs).toBe(5000);
    expect(again.capability()).toMatchObject({ newest: 5, inForce: 5 });
    expect((await give(again, payloadOf(5))).code).toBe('ERR_CONFIG_STALE');
  });
});

describe('the end of a state', () => {
  test('takes the device back to the settings of its owner, and says so', async () => {
    const remote = await start();
    await give(remote, payloadOf(1, { intervals: { air: 5000 } }, 60_000));
    await prove();
    await clock.advance(59_000);
    await remote.check();
    expect(reports).toHaveLength(1);
    await clock.advance(1000);
    await remote.check();
    expect(outcomes().at(-1)).toEqual(['expired', 1, undefined]);
    expect(applied.at(-1)).toBeNull();
    expect(remote.capability()).toEqual({ allow: true, newest: 1, inForce: 0 });
  });

  test('counts while the clock is believed only', async () => {
    const remote = await start();
    await give(remote, payloadOf(1, {}, 60_000));
    boundMs = null;
    clock.step(86_400_000);
    await remote.check();
    expect(reports).toHaveLength(1);
    boundMs = 100;
    await remote.check();
    expect(reports.at(-1)!.outcome).toBe('expired');
  });

  test('is no beginning: what has expired is refused, and can be issued again', async () => {
    const remote = await start();
    expect(await give(remote, payloadOf(1, {}, -1000))).toMatchObject({
      ...{ outcome: 'refused', code: 'ERR_CONFIG_EXPIRED', newest: 0 },
    });
    expect((await give(remote, payloadOf(1))).outcome).toBe('applied');
  });

  test('that passed while the agent was off is noticed when it starts', async () => {
    await give(await start(), payloadOf(1, { intervals: { air: 5000 } }, 60_000));
    await prove();
    await opened[0]!.stop();
    clock.step(86_400_000);
    const again = await start();
    expect(again.effective).toBeUndefined();
    expect(outcomes().at(-1)).toEqual(['expired', 1, undefined]);
  });
});

describe('the way back', () => {
  test('leads to the last state that has proved itself', async () => {
    const remote = await start();
    await give(remote, payloadOf(1, { intervals: { air: 5000 } }));
    await prove();
    await give(remote, payloadOf(2, { intervals: { air: 6000 } }));
    const third = payloadOf(3, { intervals: { air: 7000 } });
    await give(remote, third);
    await clock.advance(66_000);
    await until(() => reports.at(-1)!.outcome === 'rolled-back', 'the way back');
    expect(reports.at(-1)).toMatchObject({
      ...{ outcome: 'rolled-back', version: 3, inForce: 1, code: 'ERR_CONFIG_NO_READINGS' },
    });
    expect(applied.at(-1)?.sensors[0]?.intervalMs).toBe(5000);
    expect((await give(remote, third)).outcome).toBe('rolled-back');
  });

  test('is taken when the settings cannot be gone over to', async () => {
    const remote = await start({
      apply: async (effective) => {
        if (effective !== null) throw new Error('bus is gone');
        applied.push(effective);
      },
    });
    const report = await give(remote, payloadOf(1));
    expect(report).toMatchObject({ outcome: 'rolled-back', inForce: 0, reasons: ['bus is gone'] });
    expect(applied).toEqual([null]);
  });

  test('is taken after three starts without a proof', async () => {
    await give(await start(), payloadOf(1, { intervals: { air: 5000 } }));
    for (let times = 0; times < 3; times += 1) await start();
    expect(outcomes().map(([outcome]) => outcome)).toEqual([
      ...['applied', 'applied', 'applied', 'rolled-back'],
    ]);
    expect(reports.at(-1)!.code).toBe('ERR_CONFIG_RESTARTS');
    expect(opened.at(-1)!.effective).toBeUndefined();
  });
});

describe('the file', () => {
  const path = () => join(folder, REMOTE_FILE);

  test('that is torn or changed is put aside, and the settings are the owner’s', async () => {
    await give(await start(), payloadOf(1, { intervals: { air: 5000 } }));
    const good = await readFile(path());
    for (let at = 0; at < good.length; at += 1) {
      const bad = Uint8Array.from(good);
      bad[at]! ^= 0x40;
      expect(() => decodeRemoteRecord(bad)).toThrow();
      expect(() => decodeRemoteRecord(good.subarray(0, at))).toThrow();
    }
    await truncate(path(), good.length >> 1);
    const again = await start();
    expect(again.effective).toBeUndefined();
    expect(await readdir(folder)).toEqual([`${REMOTE_FILE}-damaged`]);
    expect((await give(again, payloadOf(2))).outcome).toBe('applied');
  });

  test('whose state is under a key that the network has replaced brings nothing back', async () => {
    const payload = payloadOf(1, { intervals: { air: 5000 } });
    await give(await start(), payload);
    const other = signerFromSeed(new Uint8Array(32).fill(4)).publicKey;
    const again = await start({
      open: (bytes) => open(bytes, { externalAad: aad, publicKey: other, verify }).payload,
    });
    expect(again.effective).toBeUndefined();
    expect(reports.at(-1)).toMatchObject({ outcome: 'expired', version: 1, inForce: 0 });
    expect(reports.at(-1)!.reasons[0]).toContain('does not verify');
    // Under the new key, which the operator has by then, it comes again.
    expect((await give(again, payload)).outcome).toBe('applied');
  });

  test('is the one before or the one after a power cut at any operation, and never damaged', async () => {
    const at = '/data/state';
    let cut = 0;
    for (let isOver = false; !isOver; ) {
      cut += 1;
      for (const chance of [0, 0.5, 0.99]) {
        const disk = new FragileDisk();
        await disk.makeFolder(at);
        await saveRemoteRecord(at, { ...NO_RECORD, newest: 1 }, disk);
        const before = disk.operations;
        disk.plan = (operation) => (operation === before + cut ? 'cut' : 'pass');
        isOver = await saveRemoteRecord(at, { ...NO_RECORD, newest: 2 }, disk).then(
          () => true,
          () => false,
        );
        const errors: string[] = [];
        const log = { ...silentLog, error: (message: string) => void errors.push(message) };
        const after = disk.afterPowerCut(() => chance);
        const { newest } = await loadRemoteRecord(at, { log, disk: after });
        expect([cut, newest, errors]).toEqual([cut, isOver ? 2 : expect.any(Number), []]);
        expect([1, 2]).toContain(newest);
      }
    }
    expect(cut).toBeGreaterThan(4);
  });

  test('that cannot be written means refused, and nothing is applied', async () => {
    const remote = await start();
    await rm(folder, { recursive: true });
    await writeFile(folder, 'a file where the folder was');
    const refused = await give(remote, payloadOf(1, { intervals: { air: 5000 } }));
    expect(refused).toMatchObject({ outcome: 'refused', code: 'ERR_CONFIG_NOT_KEPT', newest: 0 });
    expect(applied).toEqual([]);
    await rm(folder);
    await mkdir(folder);
    expect((await give(remote, payloadOf(1, { intervals: { air: 5000 } }))).outcome).toBe(
      'applied',
    );
  });
});
