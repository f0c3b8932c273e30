import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '@fieldproof/analytics/cli/program';
import { formatTable, printable } from '@fieldproof/analytics/cli/table';
import type { ControlServerOptions } from '@fieldproof/analytics/server/server';
import { describe, expect, test } from '@jest/globals';
import { controlUnderTest, NOW_MS } from '../server/control-under-test.ts';
import type { Point } from '../server/memory-store.ts';

const POINTS: readonly Point[] = [
  {
    ...{ device: 'z6MkA', profile: 'environment', metric: 'temperature' },
    ...{ timeMs: NOW_MS - 5000, value: 21.5, tags: { source: 'sensor' } },
  },
  {
    ...{ device: 'z6MkB\u001b[2J', profile: 'environment', metric: 'door' },
    ...{ timeMs: NOW_MS - 60_000, value: 'open\nwide', tags: { source: 'replay' } },
  },
];

interface Network extends Partial<ControlServerOptions> {
  readonly points?: readonly Point[];
}

async function cli(
  env: Record<string, string> = {},
  cwd = '/nonexistent',
  { points = POINTS, ...options }: Network = {},
) {
  const under = await controlUnderTest(points, options);
  const run = async (...argv: string[]) => {
    const out: string[] = [];
    const err: string[] = [];
    const code = await runCli(argv, {
      env: { FIELDPROOF_URL: under.url, FIELDPROOF_TOKEN: under.tokenText.admin, ...env },
      ...{ cwd, fetch },
      out: (text) => void out.push(text),
      err: (text) => void err.push(text),
    });
    return { code, out: out.join(''), err: err.join('') };
  };
  return { ...under, run };
}

describe('fieldproof', () => {
  test('devices and latest are aligned tables that cannot steer a terminal', async () => {
    const { run } = await cli();
    const devices = await run('devices');
    expect(devices.code).toBe(0);
    expect(devices.out).toBe(
      'NAME  GROUP  SOURCE  ONLINE  NEWEST    VALUES  DEVICE\n' +
        '-     -      sensor  -       5 s ago        1  z6MkA\n' +
        '-     -      replay  -       60 s ago       1  z6MkB\\u{1b}[2J\n',
    );
    expect(devices.err).toContain('names and presence are unknown');
    const latest = await run('latest', '--device', 'z6MkB\u001b[2J');
    expect(latest.out).toContain('open\\u{a}wide');
    expect(latest.out).not.toContain('\u001b');
  });

  test('latest names devices, rounds values, and leaves windows out until they are asked for', async () => {
    const point = { device: 'z6MkA', profile: 'system', timeMs: NOW_MS - 5000 };
    const points: Point[] = [
      { ...point, metric: 'disk_free', value: 83_955_281_920 },
      { ...point, metric: 'disk_used', value: 0.22900000000000001 },
      { ...point, metric: 'humidity', value: 62.800000000000004 },
      { ...point, metric: 'humidity_mean', profile: 'system_1m', value: 60 },
    ];
    const system = [
      { metric: 'disk_free', unit: 'B' },
      { metric: 'disk_used', unit: '/' },
      { metric: 'humidity', unit: '%RH' },
    ];
    const value = [{ device: 'z6MkA', name: 'roof', profiles: { system } }];
    const directory = { devices: async () => ({ ok: true, value }) as const };
    const { run } = await cli({}, '/nonexistent', { points, directory });
    const latest = await run('latest');
    expect(latest.out).toBe(
      'NAME  PROFILE  METRIC        VALUE  UNIT  AGE\n' +
        'roof  system   disk_free  83.95528  GB    5 s ago\n' +
        'roof  system   disk_used      22.9  %     5 s ago\n' +
        'roof  system   humidity       62.8  % RH  5 s ago\n',
    );
    expect(latest.err).toBe('note: derived values not shown: 1; --all shows them\n');
    const all = await run('latest', '--all', '--ids');
    expect(all.err).toBe('');
    expect(all.out).toMatch(/^DEVICE .*\nz6MkA .*(\n.*){2}\nz6MkA +system_1m +humidity_mean +60 /);
    expect((await run('latest', '--profile', 'system_1m')).out).toContain('humidity_mean');
    const json = JSON.parse((await run('latest', '--json')).out);
    expect(json.values.map((v: { value: number }) => v.value)).toEqual([
      ...[83_955_281_920, 0.22900000000000001, 62.800000000000004, 60],
    ]);
    expect((await run('devices')).out).toMatch(/^NAME.*DEVICE\nroof .* z6MkA\n$/);
  });

  test('query as table, JSON and CSV', async () => {
    const { run } = await cli();
    const query = ['query', 'environment', 'temperature', '--from', '-1h'];
    expect((await run(...query)).out).toBe(
      'TIME                      DEVICE  VALUE\n2026-11-21T11:59:55.000Z  z6MkA    21.5\n',
    );
    const json = JSON.parse((await run(...query, '--json')).out);
    expect(json.series[0].values).toEqual([21.5]);
    const csv = await run(...query, '--bucket', '1m', '--aggregate', 'max', '--csv');
    expect(csv.out).toContain('2026-11-21T11:59:00.000Z,z6MkA,environment,temperature,21.5\r\n');
  });

  test('status', async () => {
    const { run } = await cli();
    const { out, code } = await run('status');
    expect(code).toBe(0);
    expect(out).toMatch(/^network {5}unknown$/m);
    expect(out).toMatch(/^devices {5}2, online unknown$/m);
  });

  test('a token is made, listed and revoked', async () => {
    const { run, tokens } = await cli();
    const made = await run('token', 'create', 'grafana', '--scope', 'read', 'write', '--days', '3');
    expect(made.code).toBe(0);
    expect(tokens.verify(made.out.trim()).scopes).toEqual(['read', 'write']);
    expect((await run('token', 'list')).out).toMatch(/^grafana +read,write +\S+ +2026-11-24$/m);
    expect((await run('token', 'revoke', 'grafana')).out).toBe('revoked grafana\n');
    const again = await run('token', 'revoke', 'grafana');
    expect([again.code, again.err]).toEqual([
      ...[1, expect.stringMatching(/^error ERR_TOKEN_NAME: .* — .*\n$/)],
    ]);
  });

  test.each([
    ['no command', [], 2, 'ERR_USAGE'],
    ['an unknown command', ['fly'], 2, 'ERR_USAGE'],
    ['an unknown option', ['devices', '--fast'], 2, 'ERR_USAGE'],
    ['a missing argument', ['query', 'environment'], 2, 'ERR_USAGE'],
    ['an address that is none', ['devices', '--url', 'x'], 2, 'ERR_USAGE'],
    ['days that are none', ['token', 'create', 'x', '--days', 'y'], 2, 'ERR_USAGE'],
    ['nobody there', ['devices', '--url', 'http://127.0.0.1:1'], 3, 'ERR_API_UNREACHABLE'],
    ['a bad time', ['query', 'a', 'b', '--from', 'noon'], 1, 'ERR_REQUEST_INVALID'],
  ])('%s is one line and an exit code', async (_name, argv, code, error) => {
    const { run } = await cli();
    const result = await run(...argv);
    expect([result.code, result.out]).toEqual([code, '']);
    expect(result.err).toMatch(new RegExp(`^error ${error}: [^\\n]+ — [^\\n]+\\n$`));
  });

  test('a token that is missing, unknown or too weak is exit code 4', async () => {
    const missing = await cli({ FIELDPROOF_TOKEN: '' });
    expect((await missing.run('devices')).err).toContain('ERR_TOKEN_MISSING');
    const { run, tokenText } = await cli({ FIELDPROOF_TOKEN: 'fpt_x' });
    const unknown = await run('devices');
    expect([unknown.code, unknown.err]).toEqual([4, expect.stringContaining('ERR_TOKEN_UNKNOWN')]);
    const weak = await cli({ FIELDPROOF_TOKEN: tokenText.read });
    expect((await weak.run('token', 'list')).code).toBe(4);
    const split = await cli({ FIELDPROOF_TOKEN: 'a\r\nx: y' });
    expect((await split.run('devices')).code).toBe(4);
  });

  test('finds the network of this folder by itself', async () => {
    const cwd = await mkdtemp(join(tmpdir(), 'fieldproof-cli-'));
    const folder = join(cwd, 'data', 'control');
    await mkdir(folder, { recursive: true });
    const { run, url, tokenText } = await cli({ FIELDPROOF_URL: '', FIELDPROOF_TOKEN: '' }, cwd);
    await writeFile(join(folder, 'address.json'), JSON.stringify({ url }));
    await writeFile(join(folder, 'admin-token'), `${tokenText.admin}\n`);
    expect((await run('status')).code).toBe(0);
    expect((await run('status', '--data', join(cwd, 'data'))).code).toBe(0);
    expect((await run('status', '--data', './elsewhere')).code).toBe(4);
  });

  test('help is there for every command, with examples', async () => {
    const { run } = await cli();
    for (const path of [
      ...[[], ['devices'], ['latest'], ['query'], ['status'], ['token']],
      ...[
        ['token', 'create'],
        ['token', 'list'],
        ['token', 'revoke'],
      ],
    ]) {
      const { code, out } = await run(...path, '--help');
      expect([code, out.includes('Examples:\n  fieldproof')]).toEqual([0, true]);
    }
  });
});

describe('text tables', () => {
  test('numbers go to the right, null is a dash, no line ends with a space', () => {
    const table = formatTable(
      ['A', 'N'],
      [
        ['x', 1],
        [null, 100],
      ],
    );
    expect(table).toBe('A    N\nx    1\n-  100\n');
    expect(formatTable(['A', 'LONG'], [['x', 'y']])).toBe('A  LONG\nx  y\n');
  });

  test('control and direction characters are written out', () => {
    expect(printable('a\u0007\u202eb\u200b')).toBe('a\\u{7}\\u{202e}b\\u{200b}');
  });
});
