import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { redactConfig } from '@fieldproof/broker/observe/redacted-config';
import { collectBundle, describeBundle } from '@fieldproof/broker/observe/support-bundle';
import { parseJoinLine } from '@fieldproof/protocol/join-line';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from '../support/broker.ts';
import { type Commands, startCommands } from '../support/commands.ts';
import type { TestDevice } from '../support/device.ts';
import { findSecret } from '../support/secrets.ts';

const word = () => randomBytes(24).toString('base64url');

let broker: TestBroker;
let folder: string;
let running: Commands;
let device: TestDevice;
let planted: Record<string, string | Uint8Array>;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'fieldproof-bundle-'));
  const query = word();
  broker = await startTestBroker(
    { logLevel: 'trace', lan: true, webhookUrl: `http://127.0.0.1:1/hook?token=${query}` },
    { logDestination: { write: () => {} } },
  );
  device = await broker.device();
  await device.connect();
  await device.publish('birth', device.seal({ kind: 'birth' }));
  await broker.admin('POST', `/admin/devices/${device.id}/rename`, { name: 'Dach Süd' });
  const [bearer, path] = [word(), word()];
  const joinLine = await broker.joinLine();
  const headers = { authorization: `Bearer ${bearer}` };
  await fetch(`${broker.running.addresses.http}/admin/status?token=${path}`, { headers });
  await broker.admin('POST', '/admin/webhook/test');
  planted = { query, bearer, path, 'join token': parseJoinLine(joinLine).token, database: word() };
  for (const name of ['keys', 'tokens', '.']) {
    for (const file of readdirSync(join(broker.dataDir, name))) {
      const isSecret = name === 'tokens' || /\.key$|secret/.test(file);
      if (!isSecret) continue;
      const text = readFileSync(join(broker.dataDir, name, file), 'utf8');
      const [line = ''] = text.split('\n').filter((part) => !part.startsWith('-----'));
      planted[`${name}/${file}`] = line.trim();
    }
  }
  const database = `postgres://u:${String(planted.database)}@127.0.0.1:1/x`;
  running = await startCommands({ cwd: folder, env: { ...process.env, DATABASE_URL: database } });
});

afterAll(async () => {
  await running.stop();
  await broker.close();
  rmSync(folder, { recursive: true, force: true });
});

const cli = (...parts: string[]) => running.run('support-bundle', ...parts);

interface Bundle {
  readonly missing: readonly string[];
  readonly files: readonly { readonly path: string }[];
  readonly publicFiles: Readonly<Record<string, string>>;
  readonly broker: { readonly metrics: readonly string[]; readonly log: readonly string[] };
}

function read(file: string): { readonly text: string; readonly bundle: Bundle } {
  const text = gunzipSync(readFileSync(file)).toString();
  return { text, bundle: JSON.parse(text) as Bundle };
}

function expectClean(text: string): void {
  expect(Object.keys(planted).length).toBeGreaterThan(12);
  for (const [name, secret] of Object.entries(planted)) {
    expect([name, findSecret(text, secret)]).toEqual([name, null]);
  }
}

describe('the bundle of a running broker', () => {
  test('has what somebody who helps needs, no secret in any spelling, and says what is in it', async () => {
    const { stdout } = await cli('--data', broker.dataDir);
    const [name] = readdirSync(folder);
    expect(name).toMatch(/^fieldproof-support-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.json\.gz$/);
    const file = join(folder, name!);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const { text, bundle } = read(file);
    expectClean(text);
    expectClean(stdout);
    expect(bundle).toMatchObject({
      format: 'fieldproof-support-bundle/1',
      missing: [],
      versions: { broker: '0.1.0', node: process.versions.node },
      environment: expect.arrayContaining(['DATABASE_URL']),
      disk: { freeBytes: expect.any(Number) },
      broker: {
        config: { webhookUrl: 'http://127.0.0.1:1/[redacted]', logLevel: 'trace' },
        status: { network: broker.running.network },
        devices: { standings: { good: 1 }, online: 1 },
        certificates: { server: { notAfter: expect.any(Number) } },
      },
    });
    expect(bundle.broker.metrics.join('\n')).toContain('fieldproof_broker_verdicts_total');
    expect(bundle.broker.log.join('\n')).toContain('"event":"session-begin"');
    const paths = bundle.files.map((one) => one.path);
    expect(paths).toEqual(expect.arrayContaining(['keys/log.key', 'tokens/admin', 'broker.lock']));
    // What people call their devices is theirs.
    expect(text).not.toContain('Dach Süd');
    expect(stdout).toContain('settings without passwords');
  });

  test('has the devices when that is asked for, and overwrites nothing', async () => {
    const out = join(folder, 'named.json.gz');
    const { stdout } = await cli('--data', broker.dataDir, '--with-devices', '--out', out);
    expect(read(out).text).toContain('Dach Süd');
    expectClean(read(out).text);
    expect(stdout).toContain('1 devices with their names');
    const before = readFileSync(out);
    expect(await cli('--data', broker.dataDir, '--out', out)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('ERR_FILE_EXISTS'),
    });
    expect(readFileSync(out)).toEqual(before);
  });
});

test('of a broker that is down it has what can be seen from outside', async () => {
  const out = join(folder, 'down.json.gz');
  const { stdout } = await cli(
    '--data',
    broker.dataDir,
    '--url',
    'http://127.0.0.1:1',
    '--out',
    out,
  );
  const { text, bundle } = read(out);
  expectClean(text);
  expect(bundle.broker).toBeNull();
  expect(bundle.missing).toEqual([expect.stringContaining('ERR_BROKER_UNREACHABLE')]);
  expect(bundle.files.length).toBeGreaterThan(10);
  expect(bundle.publicFiles).toMatchObject({ version: '1' });
  expect(stdout).toContain('not in it: the running broker');
});

test('of a folder that is not there none is written', async () => {
  const [dataDir, out] = [join(folder, 'none'), join(folder, 'none.json.gz')];
  expect(await cli('--data', dataDir, '--out', out)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining(`ERR_FILE_UNREADABLE: ${dataDir}`),
  });
  expect(existsSync(out)).toBe(false);
});

test('what is gone from a folder meanwhile is named as missing', () => {
  const options = { broker: null, unreachable: 'down', environment: {}, now: 0 };
  const { missing } = collectBundle({ ...options, dataDir: join(folder, 'none') });
  expect(missing).toEqual(
    expect.arrayContaining(['data folder: ENOENT', 'disk: ENOENT', 'descriptor.cose: ENOENT']),
  );
});

test('a secret that some part let through is taken out, wherever it is, and the rest stays', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'fieldproof-bundle-'));
  const secret = word();
  try {
    writeFileSync(join(dataDir, 'webhook.secret'), `${secret}\n`);
    const hex = Buffer.from(secret, 'base64url').toString('hex');
    const broker = { log: [`a ${secret} b`, hex], deep: { [secret]: [{ x: secret }] }, n: 1 };
    const options = { dataDir, broker, unreachable: null, environment: {}, now: 0 };
    const bundle = collectBundle(options);
    expect(findSecret(JSON.stringify(bundle), secret)).toBeNull();
    expect(bundle.broker).toEqual({
      ...{ log: ['a [redacted] b', '[redacted]'], n: 1 },
      deep: { '[redacted]': [{ x: '[redacted]' }] },
    });
    expect(describeBundle(bundle).join('\n')).toContain('the last 2 lines of the log');
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
});

test('settings are shown without what may be secret in an address', () => {
  const config = {
    databaseUrl: 'postgres://user:pass@db:5432/x?sslmode=require&password=p',
    webhookUrl: 'https://h/hook/path?key=1#f',
    httpPort: 7880,
  };
  expect(redactConfig(config)).toEqual({
    ...{ databaseUrl: 'postgres://db:5432/x', webhookUrl: 'https://h/[redacted]', httpPort: 7880 },
  });
  for (const databaseUrl of ['user:p@ss', 'user://p@ss', 'p@ss']) {
    expect(redactConfig({ databaseUrl })).toEqual({ databaseUrl: '[not an address]' });
  }
  expect(redactConfig({ databaseUrl: '' })).toEqual({ databaseUrl: '' });
});
