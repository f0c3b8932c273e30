import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DuckdbStore, type DuckdbStoreOptions } from '@fieldproof/analytics/store/duckdb-store';
import { openStore } from '@fieldproof/analytics/store/open-store';
import { afterAll, describe, expect, test } from '@jest/globals';
import { programArguments } from '../../support/program.ts';
import { storeContract } from './contract.ts';

const folders: string[] = [];
const options = new WeakMap<object, DuckdbStoreOptions>();

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'duckdb-store-'));
  folders.push(folder);
  return folder;
}

async function open(given: DuckdbStoreOptions): Promise<DuckdbStore> {
  const store = new DuckdbStore(given);
  await store.open();
  options.set(store, given);
  return store;
}

afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

storeContract('DuckDB', {
  create: async (given = {}) => open({ dataDir: await newFolder(), ...given }),
  reopen: async (store) => {
    await store.close();
    return open(options.get(store)!);
  },
});

const write = (store: DuckdbStore, text: string) =>
  store.writeLines(Buffer.from(text), { precision: 'ms' });

/** Starts the writer process; resolves when it has said `rounds` rounds are durable. */
async function startWriter(dataDir: string) {
  const program = programArguments('test/support/store-writer.ts');
  const child = spawn(process.execPath, [...program, dataDir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    said += text;
  });
  const rounds = () => said.split('\n').length - 1;
  const until = async (count: number) => {
    while (rounds() < count && child.exitCode === null) await once(child.stdout, 'data');
  };
  const kill = async () => {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  };
  return { rounds, until, kill };
}

describe('DuckdbStore', () => {
  test('a killed process loses nothing that was written', async () => {
    const dataDir = await newFolder();
    for (const rounds of [3, 25]) {
      const writer = await startWriter(dataDir);
      await writer.until(rounds);
      await writer.kill();
      const store = await open({ dataDir });
      const [series] = await store.range({ profile: 'air', metric: 'v', fromMs: 0, toMs: 1e9 });
      const durable = writer.rounds() * 500;
      expect(series!.values.length).toBeGreaterThanOrEqual(durable);
      expect(series!.values.slice(0, durable)).toEqual(
        Array.from({ length: durable }, (_, i) => i),
      );
      await store.close();
    }
  });

  const limits = spawnSync('prlimit', ['--version']).status === 0;
  if (!limits) console.warn('SKIPPED: the full disk test, prlimit is not installed');
  (limits ? test : test.skip)(
    'a full disk is "try again", and room is enough to go on',
    async () => {
      const dataDir = await newFolder();
      const program = programArguments('test/support/store-disk-full.ts');
      // 18 MB: the log may grow until its checkpoint, the database itself may not follow.
      const command = 'ulimit -S -f 18000; exec "$0" "$@"';
      const { stdout, stderr } = spawnSync(
        'bash',
        ['-c', command, process.execPath, ...program, dataDir],
        {
          encoding: 'utf8',
        },
      );
      expect(stderr).toBe('');
      const { errors, again, missing } = JSON.parse(stdout);
      expect(errors).toEqual([
        ['ERR_STORE_FULL', true],
        ['ERR_STORE_FULL', true],
      ]);
      // The write that met the full disk may have been stored before it failed; sent again it merges.
      expect([again, missing]).toEqual([3, 0]);
    },
  );

  test('a folder that another process has open is locked', async () => {
    const dataDir = await newFolder();
    const writer = await startWriter(dataDir);
    try {
      await writer.until(1);
      await expect(open({ dataDir })).rejects.toMatchObject({ code: 'ERR_STORE_LOCKED' });
    } finally {
      await writer.kill();
    }
    await (await open({ dataDir })).close();
  });

  test('a folder that this process has open is locked too', async () => {
    const dataDir = await newFolder();
    const store = await open({ dataDir });
    await expect(open({ dataDir })).rejects.toMatchObject({ code: 'ERR_STORE_LOCKED' });
    await store.close();
    await (await open({ dataDir })).close();
  });

  test('a file that is no database is named as such, again and again', async () => {
    const dataDir = await newFolder();
    await writeFile(join(dataDir, 'readings.duckdb'), 'x'.repeat(20_000));
    for (let i = 0; i < 2; i++) {
      await expect(open({ dataDir })).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' });
    }
  });

  test('an analyst reads a measurement as a view with its tags', async () => {
    const store = await open({ dataDir: await newFolder() });
    await write(store, 'Air,device=d1,cell=c,group=g,source=sensor temp=21.5,time~=1 5');
    await write(
      store,
      'Air,device=d1,cell=c,group=g,source=sensor Temp=3 5\nair,device=x temp=1 1',
    );
    const rows = await store.readSql(async (connection) =>
      (await connection.runAndReadAll('SELECT * EXCLUDE time FROM "Air"')).getRowObjects(),
    );
    expect(rows).toEqual([
      {
        device: 'd1',
        cell: 'c',
        group: 'g',
        source: 'sensor',
        temp: 21.5,
        'time~': 1,
        'Temp~2': 3,
      },
    ]);
    await store.close();
  });

  test('integers are numbers here, however they were written', async () => {
    const store = await open({ dataDir: await newFolder() });
    await write(store, 'm,device=d v=1i 1\nm,device=d v=2.5 2\nm,device=d v=3u 3');
    const [series] = await store.range({ profile: 'm', metric: 'v', fromMs: 0, toMs: 9 });
    expect(series!.values).toEqual([1, 2.5, 3]);
    await store.close();
  });

  test('a line without a time gets the clock', async () => {
    const store = await open({ dataDir: await newFolder(), now: () => 1234.5 });
    await write(store, 'm,device=d v=1');
    expect((await store.latest({}))[0]!.timeMs).toBe(1234);
    await store.close();
  });

  test('too many fields are refused, known ones go on', async () => {
    const store = await open({ dataDir: await newFolder(), maxFields: 2 });
    await expect(
      write(store, 'm,device=d a=1 1\nm,device=d b=1,c=1 2\nm,device=d b=1 3'),
    ).rejects.toMatchObject({ code: 'ERR_STORE_SERIES_BUDGET' });
    expect((await store.latest({})).map(({ metric }) => metric)).toEqual(['a', 'b']);
    await store.close();
  });

  test('a field or tag named time is refused: InfluxDB would drop it silently', async () => {
    const store = await open({ dataDir: await newFolder() });
    for (const line of ['m,device=d time=1,v=1 1', 'm,device=d,time=x v=1 1']) {
      await expect(write(store, line)).rejects.toMatchObject({ code: 'ERR_STORE_LINES_REFUSED' });
    }
    expect(await store.latest({})).toEqual([]);
    await store.close();
  });

  test('queries run while new metrics arrive', async () => {
    const store = await open({ dataDir: await newFolder() });
    await write(store, 'm,device=d v=0 0');
    const writes = Array.from({ length: 20 }, (_, i) =>
      write(store, `m,device=d v=${i},n${i}=1 ${i}`),
    );
    const reads = Array.from({ length: 40 }, async (_, i) => {
      await new Promise((resolve) => setImmediate(resolve));
      return i % 2 === 0 ? store.latest({}) : store.devices();
    });
    await Promise.all([...writes, ...reads]);
    expect((await store.devices())[0]!.metrics).toHaveLength(21);
    await store.close();
  });

  test('openStore without an address opens the embedded store in its folder', async () => {
    const dataDir = await newFolder();
    const store = await openStore({ dataDir, influxUrl: '' });
    expect(await store.ping()).toEqual({ ok: true, version: expect.stringMatching(/^v\d/) });
    await expect(open({ dataDir: join(dataDir, 'store') })).rejects.toMatchObject({
      code: 'ERR_STORE_LOCKED',
    });
    await store.close();
  });
});
