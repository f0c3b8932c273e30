import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startBroker } from '@fieldproof/broker/broker';
import { readConfigFile } from '@fieldproof/broker/config';
import { describeFailure } from '@fieldproof/broker/errors';
import { toBase64url } from '@fieldproof/protocol/bytes';
import { parseJoinLine } from '@fieldproof/protocol/join-line';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import mqtt from 'mqtt';
import { startTestBroker, type TestBroker } from '../support/broker.ts';
import { findSecret } from '../support/secrets.ts';

const lines: string[] = [];
const logDestination = { write: (line: string) => void lines.push(line) };
let broker: TestBroker;

beforeAll(async () => {
  broker = await startTestBroker({ logLevel: 'trace', lan: true }, { logDestination });
});

afterAll(async () => {
  await broker.close();
});

/** A word that is nowhere else. */
function secret(): string {
  return randomBytes(24).toString('base64url');
}

function expectClean(secrets: Readonly<Record<string, string | Uint8Array>>, text: string): void {
  expect(text).not.toBe('');
  for (const [name, value] of Object.entries(secrets)) {
    expect([name, findSecret(text, value)]).toEqual([name, null]);
  }
}

test('no secret that comes in over HTTP or MQTT, or lies in the data folder, is in the log at trace level', async () => {
  const { http, mqtt: mqttUrl } = broker.running.addresses;
  const stolen = { bearer: secret(), query: secret(), body: secret(), path: secret() };
  const joinLine = await broker.joinLine();
  const device = await broker.device();
  await device.enrolRequest(joinLine);
  await device.enrolRequest(joinLine, { owner: device.signer });
  const headers = { authorization: `Bearer ${stolen.bearer}`, 'content-type': 'application/json' };
  for (const path of [
    '/admin/status',
    '/v1/tail',
    `/v1/hello?token=${stolen.query}`,
    `/no/such?join=${encodeURIComponent(joinLine)}`,
    `/admin/devices/${stolen.path}`,
  ]) {
    await fetch(`${http}${path}`, { headers });
  }
  for (const body of [joinLine, `{"password":"${stolen.body}"`, '{"token":']) {
    for (const path of ['/v1/enrol', '/admin/tokens', '/v1/down/x/task']) {
      await fetch(`${http}${path}`, { method: 'POST', headers, body });
    }
  }
  const login = { password: secret(), username: secret(), will: secret() };
  for (const options of [
    { clientId: device.id, username: device.id, password: login.password },
    { clientId: device.id, username: login.username, password: login.password },
    { clientId: device.id, username: device.id, password: login.password, clean: false },
    {
      ...{ clientId: device.id, username: device.id, password: login.password },
      will: { topic: 'x', payload: Buffer.from(login.will), qos: 0 as const, retain: false },
    },
  ]) {
    await mqtt
      .connectAsync(mqttUrl, { ...options, protocolVersion: 4, reconnectPeriod: 0 })
      .catch(() => undefined);
  }
  // A clumsy client calls itself by its token.
  const made = await broker.admin('POST', '/admin/access', { name: 'tool', scopes: ['mqtt'] });
  const { token: access } = made.body as { token: string };
  const { token: joining } = parseJoinLine(await broker.joinLine());
  for (const clientId of [access, `id-${access}`, toBase64url(joining)]) {
    await mqtt
      .connectAsync(mqttUrl, { clientId, username: clientId, password: access, reconnectPeriod: 0 })
      .catch(() => undefined);
  }
  const good = await device.connect();
  await device.publish('birth', device.seal({ kind: 'birth' }));
  await device.publish('telemetry', randomBytes(100));
  await good.endAsync();

  const log = lines.join('');
  expect(log).toContain('"event":"login-refused"');
  expect(log).toContain('"event":"session-begin"');
  expect(log).toContain('"event":"reject"');
  const files = ['keys', 'tokens'].flatMap((folder) =>
    readdirSync(join(broker.dataDir, folder))
      .filter((name) => folder === 'tokens' || name.endsWith('.key'))
      .map((name) => join(broker.dataDir, folder, name)),
  );
  expect(files.length).toBeGreaterThan(6);
  const tokens = { 'join token': parseJoinLine(joinLine).token, access, joining };
  expectClean({ ...stolen, ...login, ...tokens }, log);
  for (const file of files) {
    const [line = ''] = readFileSync(file, 'utf8')
      .split('\n')
      .filter((text) => !text.startsWith('-----'));
    expectClean({ [file]: line }, log);
  }
});

test('the password of a database that cannot be reached is neither in the log nor in the failure', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'fieldproof-secrets-'));
  const password = secret();
  const seen: string[] = [];
  try {
    const databaseUrl = `postgres://fieldproof:${password}@127.0.0.1:1/registry`;
    await startBroker(
      { dataDir: folder, httpPort: 0, mqttPort: 0, databaseUrl, logLevel: 'trace' },
      { logDestination: { write: (line) => void seen.push(line) } },
    ).then(
      (running) => running.stop(),
      (error: unknown) => seen.push(describeFailure(error)),
    );
    expectClean({ password }, seen.join(''));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a configuration file that is no JSON is named without what is in it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'fieldproof-secrets-'));
  const password = secret();
  try {
    const path = join(folder, 'broker.json');
    writeFileSync(path, `{"databaseUrl": "postgres://u:${password}@h/x`);
    expect(() => readConfigFile(path)).toThrow(/broker\.json: expected JSON/);
    writeFileSync(path, `{"databaseUrl": ${password}}`);
    const failure = (() => {
      try {
        return readConfigFile(path);
      } catch (error) {
        return describeFailure(error);
      }
    })();
    expectClean({ password, start: password.slice(0, 8) }, String(failure));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('nor is it in the message about a setting that is wrong', async () => {
  const password = secret();
  const options = { dataDir: 'x', databaseUrl: `postgres://u:${password}@h/x`, httpPort: -1 };
  const failure = await startBroker(options).catch((error: unknown) => describeFailure(error));
  expectClean({ password }, String(failure));
});
