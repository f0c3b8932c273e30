import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { get } from 'node:https';
import { connect } from 'node:net';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import { fromBase64url, toBase64url, toHex } from '@fieldproof/protocol/bytes';
import { signerFromSeed, verify } from '@fieldproof/protocol/ed25519-node';
import { CONTENT_TYPES, downAad, seal } from '@fieldproof/protocol/envelope';
import { decodeFrame } from '@fieldproof/protocol/frame';
import { decodeEvidenceEntry } from '@fieldproof/protocol/log-entries';
import { encodeMessage } from '@fieldproof/protocol/messages';
import { openCredential, openDescriptor } from '@fieldproof/protocol/statements';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { TestDevice, until } from './support/device.ts';

let broker: TestBroker;
let service: string;

beforeAll(async () => {
  broker = await startTestBroker();
  service = readFileSync(join(broker.dataDir, 'tokens/service'), 'utf8').trim();
});

afterAll(async () => {
  await broker.close();
});

function url(path: string): string {
  return `${broker.running.addresses.http}${path}`;
}

function authorized(path: string, init: RequestInit = {}): Promise<Response> {
  return fetch(url(path), {
    ...init,
    headers: { ...init.headers, authorization: `Bearer ${service}` },
  });
}

async function problem(
  response: Response,
): Promise<{ status: number; code: string; remedy: string }> {
  expect(response.headers.get('content-type')).toMatch(/^application\/problem\+json/);
  const body = (await response.json()) as { status: number; code: string; remedy: string };
  expect(body.status).toBe(response.status);
  expect(body.remedy).not.toBe('');
  return body;
}

describe('first start', () => {
  test('entry 0 is the network entry with the descriptor in force', async () => {
    const frame = decodeFrame(
      new Uint8Array(await (await authorized('/v1/entries/0')).arrayBuffer()),
    );
    const entry = decodeEvidenceEntry(frame.entry);
    const served = new Uint8Array(await (await fetch(url('/v1/descriptor'))).arrayBuffer());
    expect(entry).toMatchObject({ type: 'network' });
    expect(entry.type === 'network' && toHex(entry.descriptor)).toBe(toHex(served));
    const { network, rootKey } = broker.running;
    const descriptor = openDescriptor(served, { network, publicKey: rootKey, verify });
    expect(descriptor).toMatchObject({ version: 1, ca: null, mergeDelayMs: 10_000 });
    expect(descriptor.addresses.http).toEqual([broker.running.addresses.http]);
    expect(network).toMatch(/^[a-z2-7]{8}$/);
  });

  test.each([
    'keys/root.key',
    'keys/log.key',
    'keys/registry.key',
    'keys/control.key',
    'tokens/admin',
  ])('%s is for its owner only', (name) => {
    expect(statSync(join(broker.dataDir, name)).mode & 0o777).toBe(0o600);
  });
});

describe('enrolment', () => {
  test('an answer holds a credential that verifies; the log has the entry', async () => {
    const { network, addresses } = broker.running;
    const device = new TestDevice({ http: addresses.http, mqtt: addresses.mqtt, network });
    const before = broker.running.status().evidence.entries;
    const answer = await device.enrol(await broker.joinLine());
    const { keys } = await device.descriptor();
    const context = { network, publicKey: keys.registry, verify, device: device.id };
    expect(openCredential(answer.credential, context)).toMatchObject({
      device: device.id,
      group: 'default',
      name: 'test device',
      streams: [],
    });
    const frame = decodeFrame(
      new Uint8Array(await (await authorized(`/v1/entries/${before + 1}`)).arrayBuffer()),
    );
    expect(decodeEvidenceEntry(frame.entry)).toMatchObject({
      type: 'registry',
      action: 'enrol',
      subject: device.id,
    });
  });

  test('a token with one use enrols one device, and that one again', async () => {
    const { network, addresses } = broker.running;
    const make = () => new TestDevice({ http: addresses.http, mqtt: addresses.mqtt, network });
    const joinLine = await broker.joinLine();
    const first = make();
    await first.enrol(joinLine);
    await first.enrol(joinLine);
    expect((await first.enrolRequest(joinLine, { token: null })).status).toBe(200);
    const second = await make().enrolRequest(joinLine);
    expect(await problem(second)).toMatchObject({ status: 403, code: 'ERR_TOKEN_INVALID' });
  });

  test('a device of another owner, a nonce used twice and a stranger’s renewal are refused', async () => {
    const device = await broker.device();
    const joinLine = await broker.joinLine();
    const owner = signerFromSeed(randomBytes(32));
    const owned = await device.enrolRequest(joinLine, { owner });
    expect(await problem(owned)).toMatchObject({ status: 409, code: 'ERR_DEVICE_OWNED' });
    const nonce = await device.hello();
    expect((await device.enrolRequest(joinLine, { nonce })).status).toBe(200);
    const twice = await device.enrolRequest(joinLine, { nonce });
    expect(await problem(twice)).toMatchObject({ status: 401, code: 'ERR_NONCE_INVALID' });
    const { network, addresses } = broker.running;
    const stranger = new TestDevice({ http: addresses.http, mqtt: addresses.mqtt, network });
    const unknown = await stranger.enrolRequest(joinLine, { token: null });
    expect(await problem(unknown)).toMatchObject({ status: 404, code: 'ERR_DEVICE_UNKNOWN' });
  });

  test('garbage is a problem with a protocol code', async () => {
    const response = await fetch(url('/v1/enrol'), {
      method: 'POST',
      body: Buffer.from([1, 2, 3]),
    });
    expect(await problem(response)).toMatchObject({ status: 400, code: 'ERR_CBOR_MALFORMED' });
  });
});

describe('hello', () => {
  test.each(['', '?nonce=', '?nonce=AA', `?nonce=${toBase64url(randomBytes(33))}`, '?nonce=%2B'])(
    'the query %s is refused',
    async (query) => {
      expect(await problem(await fetch(url(`/v1/hello${query}`)))).toMatchObject({
        code: 'ERR_REQUEST',
      });
    },
  );
});

describe('evidence over HTTP', () => {
  test('checkpoint and partial tiles are served with their cache rules, nothing else is', async () => {
    await until(() => broker.running.status().evidence.published > 0);
    const checkpoint = await fetch(url('/log/evidence/checkpoint'));
    expect(checkpoint.headers.get('cache-control')).toBe('no-store');
    const [origin, size] = (await checkpoint.text()).split('\n');
    expect(origin).toBe(`fieldproof/${broker.running.network}/evidence`);
    const tile = await fetch(url(`/log/evidence/tile/0/000.p/${size}`));
    expect([tile.status, tile.headers.get('cache-control')]).toEqual([200, 'public, max-age=60']);
    expect((await tile.arrayBuffer()).byteLength).toBe(32 * Number(size));
    for (const path of [
      'tile/0/001',
      '../state.snapshot',
      '..%2fstate.snapshot',
      'tile/0/..%2f..%2fcheckpoint',
      'tile',
    ]) {
      const response = await fetch(url(`/log/evidence/${path}`));
      expect(await problem(response)).toMatchObject({ status: 404 });
    }
  });

  test('bodies come back byte for byte, by digest', async () => {
    const device = await broker.device();
    await device.connect();
    const envelope = device.seal();
    await device.publish('telemetry', envelope);
    const digest = toHex(createHash('sha256').update(envelope).digest());
    const response = await authorized(`/v1/bodies/${digest}`);
    expect(toHex(new Uint8Array(await response.arrayBuffer()))).toBe(toHex(envelope));
    expect((await authorized(`/v1/bodies/${'0'.repeat(64)}`)).status).toBe(404);
  });

  test('a live tail delivers new entries as they become durable', async () => {
    const from = broker.running.status().evidence.entries;
    const end = new AbortController();
    const response = await authorized(`/v1/tail?from=${from}`, { signal: end.signal });
    expect(response.headers.get('content-type')).toBe('application/vnd.fieldproof.frames');
    const reader = response.body!.getReader();
    const device = await broker.device();
    // The token's entry comes first.
    let heard = Buffer.alloc(0);
    while (!heard.includes(device.id)) {
      const { value, done } = await reader.read();
      expect(done).toBe(false);
      heard = Buffer.concat([heard, value!]);
    }
    end.abort();
  });

  test('a start above the size is out of range, others are malformed or unauthorized', async () => {
    expect(await problem(await authorized('/v1/tail?from=999999'))).toMatchObject({
      status: 416,
      code: 'ERR_INDEX_RANGE',
    });
    expect(await problem(await authorized('/v1/tail?from=-1'))).toMatchObject({
      code: 'ERR_REQUEST',
    });
    for (const path of ['/v1/tail?from=0', '/v1/entries/0', `/v1/bodies/${'0'.repeat(64)}`]) {
      expect(await problem(await fetch(url(path)))).toMatchObject({
        status: 401,
        code: 'ERR_UNAUTHORIZED',
      });
    }
  });
});

describe('administration', () => {
  test('needs the admin token', async () => {
    expect(await problem(await fetch(url('/admin/status')))).toMatchObject({ status: 401 });
    expect(await problem(await authorized('/admin/status'))).toMatchObject({
      status: 403,
      code: 'ERR_SCOPE',
    });
    expect((await broker.admin('GET', '/admin/status')).status).toBe(200);
  });

  test('tokens are listed by hash, without their secret, and can be revoked', async () => {
    const { body } = await broker.admin('POST', '/admin/tokens', { uses: 2, group: 'roof' });
    const { joinLine, token } = body as { joinLine: string; token: { hash: string } };
    const secret = /token=([\w-]+)/.exec(joinLine)![1]!;
    const list = JSON.stringify((await broker.admin('GET', '/admin/tokens')).body);
    expect(list).toContain(token.hash);
    expect(list).not.toContain(secret);
    expect((await broker.admin('DELETE', `/admin/tokens/${token.hash}`)).status).toBe(204);
    expect((await broker.admin('DELETE', '/admin/tokens/none')).status).toBe(404);
  });

  test('a token is revoked by as much of its hash as names it', async () => {
    const create = async () => {
      const { body } = await broker.admin('POST', '/admin/tokens', {});
      return (body as { token: { hash: string } }).token.hash;
    };
    const revoke = (hash: string) => broker.admin('DELETE', `/admin/tokens/${hash}`);
    const hash = await create();
    expect(await revoke(hash.slice(0, 5))).toMatchObject({
      status: 400,
      body: { code: 'ERR_REQUEST', detail: expect.stringContaining('6 or more characters') },
    });
    const last = hash.endsWith('0') ? '1' : '0';
    expect(await revoke(hash.slice(0, 63) + last)).toMatchObject({
      status: 404,
      body: { remedy: expect.stringContaining('token list') },
    });
    expect((await revoke(hash.slice(0, 6).toUpperCase())).status).toBe(204);
    const { tokens } = (await broker.admin('GET', '/admin/tokens')).body as {
      tokens: readonly { hash: string; usable: boolean }[];
    };
    expect(tokens.find((token) => token.hash === hash)).toMatchObject({ usable: false });
    // As with the whole of it, again is no mistake.
    expect((await revoke(hash.slice(0, 6))).status).toBe(204);
  });

  test('a revoked token enrols nobody', async () => {
    const { body } = await broker.admin('POST', '/admin/tokens', {});
    const { joinLine, token } = body as { joinLine: string; token: { hash: string } };
    expect((await broker.admin('DELETE', `/admin/tokens/${token.hash}`)).status).toBe(204);
    const { network, addresses } = broker.running;
    const device = new TestDevice({ http: addresses.http, mqtt: addresses.mqtt, network });
    expect((await device.enrolRequest(joinLine)).status).toBe(403);
  });

  test('devices can be shown and renamed, and a renewal keeps the name', async () => {
    const device = await broker.device();
    await broker.admin('POST', `/admin/devices/${device.id}/rename`, { name: 'roof' });
    await device.enrol(await broker.joinLine());
    const { body } = await broker.admin('GET', `/admin/devices/${device.id}`);
    expect(body).toMatchObject({
      deviceId: device.id,
      name: 'roof',
      status: 'active',
      online: false,
    });
    expect((await broker.admin('GET', '/admin/devices/none')).status).toBe(404);
  });
});

describe('down messages of the control process', () => {
  test('are delivered when its key signed them, and refused otherwise', async () => {
    const device = await broker.device();
    const client = await device.connect();
    const seen: string[] = [];
    client.on('message', (topic) => seen.push(topic));
    const seed = fromBase64url(
      readFileSync(join(broker.dataDir, 'keys/control.key'), 'utf8').trim(),
    );
    const make = (signer = signerFromSeed(seed)) =>
      seal({
        contentType: CONTENT_TYPES.cbor,
        payload: encodeMessage({ type: 'x', issued: 1, id: randomBytes(16) }),
        externalAad: downAad(device.network, 'task', device.id),
        signer,
      });
    const post = (kind: string, body: Uint8Array) =>
      authorized(`/v1/down/${device.id}/${kind}`, {
        method: 'POST',
        body: Buffer.from(body),
        headers: { 'content-type': 'application/cose' },
      });
    expect(await (await post('task', make())).json()).toEqual({ sent: true });
    await until(() => seen.includes(device.topic('task')));
    expect(await problem(await post('config', make()))).toMatchObject({
      code: 'ERR_SIGNATURE_INVALID',
    });
    expect(await problem(await post('receipt', make()))).toMatchObject({ code: 'ERR_REQUEST' });
    expect(await problem(await post('task', make(signerFromSeed(randomBytes(32)))))).toMatchObject({
      code: 'ERR_SIGNATURE_INVALID',
    });
  });
});

describe('limits', () => {
  test('too many hellos of an address are told to wait', async () => {
    const limited = await startTestBroker({ helloPerSecond: 1, enrolPerSecond: 1 });
    try {
      const ask = () =>
        fetch(`${limited.running.addresses.http}/v1/hello?nonce=${toBase64url(randomBytes(16))}`);
      const answers = await Promise.all(Array.from({ length: 15 }, ask));
      const refused = answers.find(({ status }) => status === 429)!;
      expect(answers.filter(({ status }) => status === 200).length).toBeGreaterThanOrEqual(10);
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
      expect(await problem(refused)).toMatchObject({ code: 'ERR_RATE_LIMIT' });
      // Whoever asks for standings shares that, and whoever appeals shares with enrolments.
      const { http } = limited.running.addresses;
      const standing = await fetch(`${http}/v1/devices/z6MkNobody/standing`);
      expect(await problem(standing)).toMatchObject({ status: 429, code: 'ERR_RATE_LIMIT' });
      const appeal = () => fetch(`${http}/v1/appeal`, { method: 'POST', body: new Uint8Array(9) });
      const appeals = await Promise.all(Array.from({ length: 15 }, appeal));
      expect(appeals.map(({ status }) => status)).toContain(429);
    } finally {
      await limited.close();
    }
  });
});

describe('health', () => {
  test('healthz and readyz answer, other paths are problems', async () => {
    expect((await fetch(url('/healthz'))).status).toBe(200);
    expect((await fetch(url('/readyz'))).status).toBe(200);
    expect(await problem(await fetch(url('/none')))).toMatchObject({ code: 'ERR_NOT_FOUND' });
  });

  test('so is a method that a path does not have, with those that it has', async () => {
    for (const [method, path, allow] of [
      ['POST', '/healthz', 'GET, HEAD'],
      ['DELETE', '/admin/status?x=1', 'GET, HEAD'],
      ['GET', '/v1/enrol', 'POST'],
      ['PUT', '/admin/devices/z6Mk', 'GET, HEAD'],
    ] as const) {
      const response = await fetch(url(path), { method });
      expect([path, response.headers.get('allow')]).toEqual([path, allow]);
      expect(await problem(response)).toMatchObject({ status: 405, code: 'ERR_METHOD' });
    }
  });

  test('so is what is no request, or has too long a head', async () => {
    const { hostname, port } = new URL(url('/'));
    const answerTo = async (bytes: string): Promise<string> => {
      const socket = connect(Number(port), hostname);
      socket.end(bytes);
      return Buffer.concat(await socket.toArray()).toString();
    };
    const garbage = await answerTo('\u0016\u0003\u0001 hello\r\n\r\n');
    expect(garbage).toMatch(/^HTTP\/1\.1 400 .*"code":"ERR_REQUEST"/s);
    expect(garbage).not.toContain('hello');
    const long = await answerTo(`GET / HTTP/1.1\r\nhost: a\r\nx: ${'y'.repeat(30_000)}\r\n\r\n`);
    expect(long).toMatch(/^HTTP\/1\.1 431 .*"status":431,"code":"ERR_REQUEST_TOO_LARGE"/s);
  });

  test('who must show a token is told which kind', async () => {
    const response = await fetch(url('/admin/status'));
    expect([response.status, response.headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
  });

  test('so are a path that is no UTF-8 and a body that is too long', async () => {
    const path = await fetch(url('/admin/devices/%E0%A4%A'));
    expect(await problem(path)).toMatchObject({ status: 400, code: 'ERR_REQUEST' });
    const body = await authorized('/v1/enrol', { method: 'POST', body: 'x'.repeat(65_537) });
    expect(await problem(body)).toMatchObject({ status: 413, code: 'ERR_REQUEST_TOO_LARGE' });
  });
});

describe('TLS', () => {
  let secure: TestBroker;
  beforeAll(async () => {
    secure = await startTestBroker({ lan: true, names: ['broker.test'] });
  });
  afterAll(async () => {
    await secure.close();
  });

  test('a device publishes over MQTT with TLS', async () => {
    const device = await secure.device();
    const ca = readFileSync(join(secure.dataDir, 'keys/ca.pem'), 'utf8');
    const { port } = new URL(secure.running.addresses.mqtts!);
    Object.assign(device, { mqttUrl: `mqtts://127.0.0.1:${port}` });
    await device.connect({ ca, servername: 'localhost' });
    await device.publish('birth', device.seal({ kind: 'birth' }));
    await device.publish('telemetry', device.seal());
    await until(() => device.receipts.length > 0);
    expect(secure.running.status().verdicts).toMatchObject({ accepted: 2, rejected: 0 });
  });

  test('HTTPS and MQTT present a chain that ends in the CA of the descriptor, on both starts', async () => {
    const path = join(secure.dataDir, 'keys/ca.pem');
    const ca = readFileSync(path, 'utf8');
    await secure.restart();
    expect(readFileSync(path, 'utf8')).toBe(ca);
    const { network, rootKey, addresses } = secure.running;
    const port = Number(new URL(addresses.https!).port);
    const bytes = await new Promise<Uint8Array>((resolve, reject) => {
      const options = {
        host: '127.0.0.1',
        port,
        path: '/v1/descriptor',
        ca,
        servername: 'broker.test',
      };
      get(options, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => resolve(Uint8Array.from(Buffer.concat(chunks))));
      }).on('error', reject);
    });
    const descriptor = openDescriptor(bytes, { network, publicKey: rootKey, verify });
    expect(descriptor.addresses.mqtt).toContain(addresses.mqtts);
    const { X509Certificate } = await import('node:crypto');
    const spki = new X509Certificate(ca).publicKey.export({ format: 'der', type: 'spki' });
    expect(toHex(descriptor.ca!)).toBe(createHash('sha256').update(spki).digest('hex'));
    const mqttPort = Number(new URL(addresses.mqtts!).port);
    await new Promise<void>((resolve, reject) => {
      const socket = tlsConnect({ host: '127.0.0.1', port: mqttPort, ca, servername: 'localhost' });
      socket.once('secureConnect', () => {
        socket.destroy();
        resolve();
      });
      socket.once('error', reject);
    });
    expect(await secure.joinLine()).not.toContain('plain=1');
  });
});
