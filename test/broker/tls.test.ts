/** A broker with the operator's certificate: what it speaks, what it tells devices, and a change while it runs. */

import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect as connectTcp, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { systemClock } from '@fieldproof/device-agent/clock';
import { ClockState } from '@fieldproof/device-agent/clock-state';
import { createDeviceKey, loadDeviceKey } from '@fieldproof/device-agent/device-key';
import { Membership } from '@fieldproof/device-agent/membership';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { parseJoinLine } from '@fieldproof/protocol/join-line';
import { openDescriptor } from '@fieldproof/protocol/statements';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { type Issued, issueChain, issueServer } from './support/certificates.ts';
import { until } from './support/device.ts';

const folder = mkdtempSync(join(tmpdir(), 'fieldproof-tls-'));
const files = { tlsCert: join(folder, 'chain.pem'), tlsKey: join(folder, 'key.pem') };
let broker: TestBroker;
let chain: { root: Issued; middle: Issued; server: Issued };

/** Replaces the files as certificate tools do. */
function install(server: Issued, above: string): void {
  for (const [path, text] of [
    [files.tlsCert, server.pem + above],
    [files.tlsKey, server.keyPem],
  ] as const) {
    writeFileSync(`${path}.new`, text);
    renameSync(`${path}.new`, path);
  }
}

beforeAll(async () => {
  chain = await issueChain();
  install(chain.server, chain.middle.pem + chain.root.pem);
  broker = await startTestBroker({ lan: true, lanHost: '127.0.0.1', ...files, tlsPollMs: 20 });
});
afterAll(async () => {
  await broker.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A handshake as of a client that trusts the root. */
function dial(url: string, options: object = {}): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket: TLSSocket = connect(
      {
        host: '127.0.0.1',
        port: Number(new URL(url).port),
        servername: 'localhost',
        ca: chain.root.pem,
        ...options,
      },
      () => resolve(socket),
    );
    socket.on('error', reject);
  });
}

function serial(socket: TLSSocket): string {
  return socket.getPeerCertificate().serialNumber.toLowerCase();
}

test('clients verify it with the root alone, and devices are told to pin that', async () => {
  const { https, mqtts, http } = broker.running.addresses;
  for (const url of [https!, mqtts!]) (await dial(url)).destroy();
  const bytes = new Uint8Array(await (await fetch(`${http}/v1/descriptor`)).arrayBuffer());
  const { network, rootKey: publicKey } = broker.running;
  const descriptor = openDescriptor(bytes, { network, publicKey, verify });
  const spki = Buffer.from(chain.root.certificate.publicKey.rawData);
  const digest = await crypto.subtle.digest('SHA-256', spki);
  expect(Buffer.from(descriptor.ca!)).toEqual(Buffer.from(digest));
  expect(descriptor.addresses.http).toContain(https!.replace('127.0.0.1', 'localhost'));
  expect(broker.running.status().tls).toMatchObject({
    source: 'files',
    daysLeft: 89,
    problem: null,
  });
});

test('a join line names no host that the certificate is not for', async () => {
  const good = await broker.admin('POST', '/admin/tokens', { host: 'broker.example.org' });
  expect((good.body as { joinLine: string }).joinLine).toContain('//broker.example.org:');
  const six = await broker.admin('POST', '/admin/tokens', { host: '2001:db8::7' });
  expect((six.body as { joinLine: string }).joinLine).toContain('//[2001:db8::7]:');
  const tokens = () => broker.admin('GET', '/admin/tokens');
  const before = await tokens();
  const bad = await broker.admin('POST', '/admin/tokens', { host: 'other.example.org' });
  expect(bad).toMatchObject({ status: 400, body: { code: 'ERR_TLS_NAMES' } });
  expect(await tokens()).toEqual(before);
});

describe('what it speaks', () => {
  test.each(['TLSv1.2', 'TLSv1.3'] as const)('%s', async (version) => {
    const socket = await dial(broker.running.addresses.mqtts!, {
      minVersion: version,
      maxVersion: version,
    });
    expect(socket.getProtocol()).toBe(version);
    socket.destroy();
  });

  test.each([
    ['TLS 1.1', { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }],
    ['no forward secrecy', { maxVersion: 'TLSv1.2', ciphers: 'AES128-GCM-SHA256' }],
    ['no authenticated encryption', { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA' }],
  ])('not %s', async (_what, options) => {
    for (const url of [broker.running.addresses.mqtts!, broker.running.addresses.https!]) {
      await expect(dial(url, options)).rejects.toMatchObject({
        code: expect.stringMatching(/SSL|RESET/),
      });
    }
  });
});

describe('files that change while it runs', () => {
  test('a renewed certificate is in use without a restart; who is connected stays', async () => {
    const url = broker.running.addresses.mqtts!;
    const before = await dial(url);
    const renewed = await issueServer(chain.middle, { to: 30 });
    install(renewed, chain.middle.pem + chain.root.pem);
    await until(() => broker.running.status().tls?.daysLeft === 29, 'the new certificate');
    for (const address of [url, broker.running.addresses.https!]) {
      const after = await dial(address);
      expect(serial(after)).toBe(renewed.certificate.serialNumber);
      after.destroy();
    }
    expect(before.destroyed).toBe(false);
    before.destroy();
  });

  test('what is wrong is told with its code, and the old one stays', async () => {
    writeFileSync(files.tlsCert, 'half a file');
    await broker.running.reloadCertificates();
    const problem = broker.running.status().tls?.problem;
    expect(problem).toMatchObject({ code: 'ERR_TLS_FILE', remedy: expect.stringContaining('PEM') });
    (await dial(broker.running.addresses.mqtts!)).destroy();
  });

  test('one of another CA is not taken: devices would refuse it', async () => {
    const other = await issueChain();
    install(other.server, other.middle.pem + other.root.pem);
    await broker.running.reloadCertificates();
    expect(broker.running.status().tls?.problem?.code).toBe('ERR_TLS_PIN');
    (await dial(broker.running.addresses.mqtts!)).destroy();
    install(chain.server, chain.middle.pem + chain.root.pem);
    await until(() => broker.running.status().tls?.problem === null, 'the problem is gone');
  });

  test('after a restart with another CA the descriptor pins that, and devices follow it', async () => {
    const device = await deviceAt(() => broker.running.addresses.https!);
    await device.membership.hello();
    const before = device.membership.descriptor!;
    const other = await issueChain();
    install(other.server, other.middle.pem + other.root.pem);
    await broker.restart();
    expect(broker.running.status().tls?.problem).toBeNull();
    (await dial(broker.running.addresses.mqtts!, { ca: other.root.pem })).destroy();
    await device.membership.hello();
    const after = device.membership.descriptor!;
    expect(after.version).toBeGreaterThan(before.version);
    expect(after.ca).not.toEqual(before.ca);
    device.close();
  });
});

/** What a device knows of its network, behind an address that stays while the broker's port changes. */
async function deviceAt(target: () => string): Promise<{ membership: Membership; close(): void }> {
  const front = createServer((client) => {
    const server = connectTcp(Number(new URL(target()).port), '127.0.0.1');
    client.pipe(server).pipe(client);
    client.on('error', () => server.destroy());
    server.on('error', () => client.destroy());
  });
  await new Promise<void>((done) => front.listen(0, '127.0.0.1', done));
  const { port } = front.address() as AddressInfo;
  const dataDir = join(folder, 'device');
  mkdirSync(join(dataDir, 'state'), { recursive: true });
  const line = parseJoinLine(await broker.joinLine());
  await createDeviceKey(dataDir, randomBytes);
  const clock = systemClock;
  const membership = new Membership({
    dataDir,
    joinLine: { ...line, host: '127.0.0.1', port },
    identity: await loadDeviceKey(dataDir),
    ownership: undefined,
    name: 'test',
    cell: undefined,
    agent: 'test/1',
    clock,
    clockState: new ClockState({
      ...{ clock, maxErrorMs: 5000, trustTimesyncd: false, root: folder },
      ...{ onStep: () => {}, onSynced: () => {} },
    }),
    timeoutMs: 20_000,
    random: (length) => Uint8Array.from(randomBytes(length)),
    log: { error: () => {}, warn: () => {}, info: () => {}, debug: () => {} },
  });
  return { membership, close: () => front.close() };
}
