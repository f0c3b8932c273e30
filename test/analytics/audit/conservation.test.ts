import { cp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import type { ConservationReport } from '@fieldproof/analytics/audit/conservation';
import { runCli } from '@fieldproof/analytics/cli/program';
import { saveCursor } from '@fieldproof/analytics/projection/cursor-file';
import { emptyState } from '@fieldproof/analytics/projection/projector-state';
import { DuckdbStore } from '@fieldproof/analytics/store/duckdb-store';
import { InfluxStore } from '@fieldproof/analytics/store/influx-store';
import { encodeFrame } from '@fieldproof/protocol/frame';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { type Influxd, startInfluxd } from '../../support/influxd.ts';
import { describeWith } from '../../support/services.ts';
import { type Plan, type Planted, plant } from './planted.ts';

const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

/** Puts the planted lines into a store and says how the audit finds it. */
type Put = (planted: Planted) => Promise<readonly string[]>;

const intoDuckdb: Put = async ({ folder, body }) => {
  const store = new DuckdbStore({ dataDir: join(folder, 'store') });
  await store.open();
  await store.writeLines(body, { precision: 'u' });
  await store.close();
  return ['--store-file', join(folder, 'store', 'readings.duckdb')];
};

async function audit(
  change: (plan: Plan) => void,
  { put = intoDuckdb, args = [] }: { put?: Put; args?: readonly string[] } = {},
) {
  const planted = await plant(change);
  folders.push(planted.folder);
  return auditPlanted(planted, [...(await put(planted)), ...args]);
}

async function auditPlanted({ broker, agent }: Planted, args: readonly string[]) {
  const out: string[] = [];
  const err: string[] = [];
  const run = ['audit', 'conservation', '--broker-data', broker, '--agent-data', agent, ...args];
  const code = await runCli([...run, '--json'], {
    ...{ env: {}, cwd: '/', fetch },
    out: (text) => void out.push(text),
    err: (text) => void err.push(text),
  });
  const report = JSON.parse(out.join('')) as ConservationReport;
  const failed = report.checks.filter(({ violations }) => violations > 0);
  return { code, report, err: err.join(''), failed: failed.map(({ name }) => name) };
}

/** The bugs that the check is there to find; each says which checks must fail. */
const BUGS: readonly [string, (plan: Plan) => void, readonly string[]][] = [
  [
    'fsync skipped: the end of the segment is gone after a crash, behind what is published',
    (plan) => {
      const lost = plan.frames.pop()!;
      plan.tail = encodeFrame(lost).subarray(0, 40);
      plan.published -= 2;
      plan.settled = [[0, 11]];
      plan.lines = plan.lines.slice(0, -2);
    },
    ['forgotten', 'accounted'],
  ],
  [
    'fsync skipped: entries that are published are gone',
    (plan) => {
      plan.frames.length -= 4;
      plan.tail = Uint8Array.of(0, 0, 1);
    },
    ['log-whole', 'forgotten', 'accounted', 'nothing-else'],
  ],
  [
    'PUBACK early: the device has forgotten a batch that never reached the log',
    (plan) => {
      plan.settled = [[0, 12]];
    },
    ['forgotten', 'accounted'],
  ],
  [
    'PUBACK early, and the envelope still lies in a segment of the outbox',
    (plan) => {
      plan.outbox.push(plan.frames[plan.frames.length - 1]!);
      plan.frames.pop();
      plan.settled = [[0, 11]];
      plan.published = 0;
      plan.lines = plan.lines.slice(0, -2);
    },
    ['forgotten', 'accounted'],
  ],
  [
    'cursor early: a reading was passed over and is not in the store',
    (plan) => void plan.lines.splice(4, 1),
    ['stored'],
  ],
  [
    'tail lost: the store has a gap of several entries',
    (plan) => void plan.lines.splice(2, 9),
    ['stored'],
  ],
  [
    'write doubled: a reading is there again at another instant',
    (plan) => void plan.lines.push(plan.lines[0]!.replace(/\d$/, (d) => `${(Number(d) + 1) % 10}`)),
    ['nothing-else'],
  ],
  [
    'write doubled: a reading is there again under other tags',
    (plan) => void plan.lines.push(plan.lines[0]!.replace('group=weather,', '')),
    ['nothing-else'],
  ],
  [
    'write altered: a value differs in its last bit',
    (plan) => {
      const at = plan.lines.findIndex((line) => line.includes('temp=1.1 '));
      plan.lines[at] = plan.lines[at]!.replace('temp=1.1 ', 'temp=1.1000000000000003 ');
    },
    ['stored'],
  ],
  [
    'write altered: minus zero has lost its sign',
    (plan) => {
      plan.lines = plan.lines.map((line) => line.replace('temp=-0 ', 'temp=0 '));
    },
    ['stored'],
  ],
  [
    'recorded twice: the same seq has two entries',
    (plan) => {
      const last = plan.frames[plan.frames.length - 1]!;
      plan.frames.push({ ...last, index: last.index + 1 });
    },
    ['recorded-once'],
  ],
  [
    'a body was changed in place, with a new checksum',
    (plan) => {
      const frame = plan.frames[3]!;
      const body = frame.body.slice();
      body[body.length - 1]! ^= 1;
      plan.frames[3] = { ...frame, body };
    },
    ['bodies'],
  ],
  [
    'a body was zeroed without a tombstone',
    (plan) => {
      const frame = plan.frames[2]!;
      plan.frames[2] = { ...frame, body: new Uint8Array(frame.body.length) };
    },
    // Its birth said that the readings are replayed: without it they are other series.
    ['bodies', 'stored'],
  ],
  [
    'an entry was replaced by another',
    (plan) => {
      plan.frames[1] = { ...plan.frames[1]!, entry: plan.frames[0]!.entry };
    },
    ['log-whole', 'stored', 'nothing-else'],
  ],
  ['a segment is missing', (plan) => void plan.frames.splice(6, 6), ['log-whole']],
  [
    'the outbox holds another envelope under a recorded seq',
    (plan) => {
      const frame = plan.outbox[0]!;
      const body = frame.body.slice();
      body[body.length - 1]! ^= 1;
      plan.outbox[0] = { ...frame, body };
    },
    ['same-envelope'],
  ],
  [
    'a reject was not kept, and the device has forgotten the envelope',
    (plan) => {
      plan.rejects = [];
    },
    ['forgotten', 'accounted'],
  ],
];

describe('the conservation check', () => {
  test('holds for a sound network: outbox, evidence and store agree', async () => {
    const { code, report, err } = await audit(() => {});
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(report.checks.map(({ name }) => name)).toEqual([
      ...['log-whole', 'bodies', 'recorded-once'],
      ...['forgotten', 'accounted', 'same-envelope', 'stored', 'nothing-else'],
    ]);
    for (const { checked } of report.checks) expect(checked).toBeGreaterThan(0);
    const counts = { signed: 12, recorded: 10, rejected: 1, dropped: 1, waiting: 0, closed: 0 };
    expect(report.counts.devices).toEqual(counts);
    expect(report.counts.readings).toMatchObject({ placeable: 18, unanchored: 0 });
  });

  test.each(BUGS)('fails for %s', async (_name, change, expected) => {
    const { code, failed, err } = await audit(change);
    expect(code).toBe(1);
    expect(err).toContain('ERR_AUDIT_FAILED');
    expect(failed).toEqual(expect.arrayContaining([...expected]));
  });

  test('a torn end of the last segment is told and is no violation by itself', async () => {
    const { code, report } = await audit((plan) => {
      plan.tail = Uint8Array.of(0, 0, 1, 0, 9);
    });
    expect(code).toBe(0);
    expect(report.counts.torn).toHaveLength(1);
  });

  test('what waits in an outbox is not lost', async () => {
    const { code, report } = await audit((plan) => {
      plan.outbox = [plan.frames.pop()!];
      plan.published = 0;
      plan.settled = [[0, 10]];
      plan.lines = plan.lines.slice(0, -2);
    });
    expect(code).toBe(0);
    expect(report.counts.devices.waiting).toBe(1);
  });

  test('what comes behind the cursor need not be stored, what comes before must', async () => {
    const change = (plan: Plan) => void plan.lines.splice(-2);
    const planted = await plant(change);
    folders.push(planted.folder);
    const store = await intoDuckdb(planted);
    const cursor = join(planted.folder, 'a.cursor');
    const size = 19;
    for (const [index, code] of [
      [1, 0],
      [size, 1],
    ] as const) {
      await saveCursor(cursor, { index, state: emptyState() });
      expect(await auditPlanted(planted, [...store, '--cursor', cursor])).toMatchObject({ code });
    }
  });

  test('windows of recorded profiles are counted and not taken for strangers', async () => {
    const { code, report } = await audit((plan) => {
      plan.lines.push(`air_1m,device=x temp_mean=1,version=1 60000000`);
    });
    expect(code).toBe(0);
    expect(report.counts.store?.windowValues).toBe(2);
    const other = await audit((plan) => void plan.lines.push('water_1m,device=x v=1 60000000'));
    expect(other.failed).toEqual(['nothing-else']);
  });

  test('fails for write doubled: the same row is in the file twice', async () => {
    const planted = await plant();
    folders.push(planted.folder);
    const args = await intoDuckdb(planted);
    const instance = await DuckDBInstance.create(args[1]!);
    const connection = await instance.connect();
    await connection.run('INSERT INTO points.air SELECT * FROM points.air LIMIT 1');
    connection.disconnectSync();
    instance.closeSync();
    expect(await auditPlanted(planted, args)).toMatchObject({ code: 1, failed: ['nothing-else'] });
  });

  test('reads a file as a killed process leaves it, with its log beside it', async () => {
    const planted = await plant();
    folders.push(planted.folder);
    const [open, killed] = [join(planted.folder, 'open'), join(planted.folder, 'killed')];
    const store = new DuckdbStore({ dataDir: open });
    await store.open();
    await store.writeLines(planted.body, { precision: 'u' });
    await cp(open, killed, { recursive: true });
    await store.close();
    expect(await readdir(killed)).toContain('readings.duckdb.wal');
    const args = ['--store-file', join(killed, 'readings.duckdb')];
    expect(await auditPlanted(planted, args)).toMatchObject({ code: 0, failed: [] });
  });

  test('folders that are none are named', async () => {
    const planted = await plant();
    folders.push(planted.folder);
    const err: string[] = [];
    const io = {
      env: {},
      cwd: planted.folder,
      fetch,
      out: () => {},
      err: (t: string) => err.push(t),
    };
    const run = (...args: string[]) => runCli(['audit', 'conservation', ...args], io);
    expect(await run('--broker-data', 'nowhere')).toBe(1);
    expect(await run('--broker-data', 'broker', '--agent-data', 'nowhere')).toBe(1);
    expect(await run('--broker-data', 'broker', '--store-file', 'nowhere')).toBe(1);
    expect(await run()).toBe(2);
    expect(err.filter((line) => line.includes('ERR_AUDIT_INPUT'))).toHaveLength(3);
  });
});

describeWith(['influxd'], 'the conservation check over InfluxDB', () => {
  let influx: Influxd;
  beforeAll(async () => {
    influx = await startInfluxd();
  });
  afterAll(() => influx.stop());
  let databases = 0;

  const intoInflux: Put = async ({ body }) => {
    const database = `audit${databases++}`;
    const store = new InfluxStore({ url: influx.url, database });
    await store.open();
    await store.writeLines(body, { precision: 'u' });
    await store.close();
    return ['--influx-url', influx.url, '--database', database];
  };

  test('holds for a sound network', async () => {
    const { code, report } = await audit(() => {}, { put: intoInflux });
    expect(report.checks.filter(({ violations }) => violations > 0)).toEqual([]);
    expect(code).toBe(0);
  });

  test.each(BUGS)('fails for %s', async (_name, change, expected) => {
    const { code, failed } = await audit(change, { put: intoInflux });
    expect(code).toBe(1);
    expect(failed).toEqual(expect.arrayContaining([...expected]));
  });
});
