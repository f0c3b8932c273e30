import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { examine, type Finding, formatFindings } from '@fieldproof/device-agent/doctor';
import { checkPower, checkWear, checkWrites } from '@fieldproof/device-agent/doctor-machine';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { agentCli } from '../support/agent-cli.ts';
import { FakeNetwork } from './fake-network.ts';

const BUDGET = { budgetBytesPerDay: 40_000_000 };

let folder: string;
let network: FakeNetwork;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'agent-doctor-'));
  network = new FakeNetwork();
  await network.start();
});
afterEach(async () => {
  await network.stop();
  await rm(folder, { recursive: true, force: true });
});

const data = () => join(folder, 'data');

const cli = (...args: string[]) => agentCli([...args, '--data', data()]);

async function doctor() {
  const { code, out, err } = await cli('doctor', '--json');
  const { findings } = JSON.parse(out) as { findings: readonly Finding[] };
  return { code, err, byCode: new Map(findings.map((each) => [each.code, each])), findings };
}

async function file(path: string, text: string): Promise<void> {
  await mkdir(join(folder, path, '..'), { recursive: true });
  await writeFile(join(folder, path), text);
}

describe('doctor', () => {
  test('finds a healthy agent healthy, changes nothing, and prints no secret', async () => {
    await cli('init', '--join', network.joinLine());
    const before = (await readdir(data(), { recursive: true })).sort();
    const { code, err, byCode } = await doctor();
    for (const name of ['folder', 'key', 'configuration', 'tcp', 'hello', 'clock']) {
      expect([name, byCode.get(name)?.state]).toEqual([name, 'ok']);
    }
    for (const name of ['descriptor', 'credential', 'sensor-system']) {
      expect([name, byCode.get(name)?.state]).toEqual([name, 'ok']);
    }
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect((await readdir(data(), { recursive: true })).sort()).toEqual(before);
    const { out } = await cli('doctor');
    const token = /token=([^&]+)/.exec(network.joinLine())![1]!;
    const seed = (await readFile(join(data(), 'device.key'), 'utf8')).trim();
    for (const secret of [token, seed]) expect(out).not.toContain(secret);
  });

  test('works where nothing is there, and makes nothing', async () => {
    const { code, err, byCode } = await doctor();
    expect(code).toBe(69);
    expect(err).toMatch(/^fieldproof-agent: ERR_AGENT_UNHEALTHY: folder, configuration[^\n]+\n$/);
    for (const name of ['folder', 'configuration', 'join-line']) {
      expect(byCode.get(name)).toMatchObject({
        state: 'fail',
        remedy: expect.stringMatching(/.{10}/),
      });
    }
    expect(byCode.get('disk-space')?.state).not.toBe('skip');
    expect(await readdir(folder)).toEqual([]);
  });

  test('names each thing that is broken, with what to do', async () => {
    await cli('init', '--join', network.joinLine());
    await network.stop();
    await chmod(join(data(), 'device.key'), 0o644);
    await chmod(join(data(), 'join-line'), 0o644);
    const missing =
      'driver: replay, profile: air, file: none.csv, time: { column: t, format: unix }';
    await writeFile(
      join(data(), 'agent.yaml'),
      `sensors: [{ ${missing}, columns: [{ column: v, metric: v, unit: Cel }] }]\n`,
    );
    const { code, byCode } = await doctor();
    expect(code).toBe(69);
    expect(byCode.get('key')).toMatchObject({ state: 'fail', found: expect.stringMatching(/600/) });
    expect(byCode.get('files-readable')).toMatchObject({
      remedy: expect.stringMatching(/^Run chmod 600 .*join-line$/),
    });
    expect(byCode.get('tcp')).toMatchObject({
      state: 'fail',
      found: expect.stringMatching(/ECONNREFUSED/),
    });
    await network.start();
  });

  test('a network that is somebody else’s is told from one that is away', async () => {
    await cli('init', '--join', network.joinLine());
    const line = await readFile(join(data(), 'join-line'), 'utf8');
    const other = new FakeNetwork();
    await other.start();
    const port = /:(\d+)\//.exec(other.joinLine())![1]!;
    await writeFile(join(data(), 'join-line'), line.replace(/:\d+\//, `:${port}/`), {
      mode: 0o600,
    });
    await rm(join(data(), 'state'), { recursive: true, force: true });
    const { byCode } = await doctor();
    await other.stop();
    expect(byCode.get('tcp')?.state).toBe('ok');
    expect(byCode.get('hello')?.state).toBe('fail');
  });

  test('a check that fails itself is a finding; the others are heard', async () => {
    const findings = await examine({
      bad: async () => {
        throw new Error('broken\u001b[2Jglass');
      },
      good: async () => [{ code: 'good', state: 'ok', found: 'well', remedy: '' }],
    });
    expect(findings.map(({ code, state }) => `${code} ${state}`)).toEqual([
      'bad-check fail',
      'good ok',
    ]);
    expect(formatFindings(findings)).not.toContain('\u001b');
  });
});

describe('what the machine says of itself', () => {
  test.each([
    ['0x02 0x03', '0x01', 'ok'],
    ['0x08 0x01', '0x01', 'warn'],
    ['0x02 0x02', '0x02', 'warn'],
    ['0x0b 0x01', '0x01', 'fail'],
    ['0x01 0x01', '0x03', 'fail'],
  ])('a card with life_time %s and pre_eol_info %s is %s', async (life, end, state) => {
    await file('sys/block/mmcblk0/device/life_time', `${life}\n`);
    await file('sys/block/mmcblk0/device/pre_eol_info', `${end}\n`);
    await file('sys/block/sda/size', '1\n');
    expect(await checkWear(folder)).toMatchObject([{ code: 'card-wear', state }]);
  });

  test.each([
    ['0', 'ok', /should be/],
    ['50000', 'warn', /voltage since the start, was throttled/],
    ['50005', 'fail', /too little voltage now/],
    ['junk', 'skip', /cannot read/],
  ])('get_throttled %s is %s', async (bits, state, found) => {
    await file('sys/devices/platform/soc/soc:firmware/get_throttled', `${bits}\n`);
    expect(await checkPower(folder)).toMatchObject([
      { state, found: expect.stringMatching(found) },
    ]);
  });

  test('a machine that does not tell is no failure', async () => {
    const found = [...(await checkPower(folder)), ...(await checkWear(folder))];
    found.push(
      ...(await checkWrites(folder, undefined, BUDGET)),
      ...(await checkWrites(folder, 7, BUDGET)),
    );
    expect(found.map(({ state }) => state)).toEqual(['skip', 'skip', 'skip', 'skip']);
  });

  test('bytes written are counted against the budget of a day', async () => {
    const stat = (ticks: number) => `7 (node (x) y) S ${'0 '.repeat(18)}${ticks} 0 0\n`;
    await file('proc/uptime', '90000.0 1.0\n');
    await file('proc/7/stat', stat(360_000));
    await file('proc/7/io', 'rchar: 1\nwrite_bytes: 86400000\ncancelled_write_bytes: 0\n');
    expect(await checkWrites(folder, 7, BUDGET)).toMatchObject([
      { state: 'warn', found: expect.stringMatching(/^86\.4 MB/) },
    ]);
    await file('proc/7/io', 'write_bytes: 20000000\n');
    expect(await checkWrites(folder, 7, BUDGET)).toMatchObject([{ state: 'ok' }]);
    const counted = { ...BUDGET, counted: 50_000_000 };
    expect(await checkWrites(folder, 7, counted)).toMatchObject([{ state: 'warn' }]);
    expect(await checkWrites(folder, 7, { budgetBytesPerDay: 10_000_000 })).toMatchObject([
      { state: 'warn', found: expect.stringMatching(/of 10 MB$/) },
    ]);
    await file('proc/7/stat', stat(9_000_000 - 1000));
    expect(await checkWrites(folder, 7, BUDGET)).toMatchObject([{ state: 'skip' }]);
  });
});
