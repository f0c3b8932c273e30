import { createHash, webcrypto, X509Certificate } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { createServer, type Server } from 'node:tls';
import { systemClock } from '@fieldproof/device-agent/clock';
import { dial } from '@fieldproof/device-agent/dial';
import { checkChain, checkTlsPeer } from '@fieldproof/device-agent/tls-peer';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import 'reflect-metadata';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY = 86_400_000;

interface Made {
  readonly pem: string;
  readonly privatePem: string;
  readonly certificate: X509Certificate;
  readonly keys: webcrypto.CryptoKeyPair;
}

// After the polyfill above, which it needs while it loads.
const x509 = await import('@peculiar/x509');
x509.cryptoProvider.set(webcrypto as never);

async function make(options: {
  name: string;
  issuer?: Made;
  ca?: boolean;
  dns?: string;
  from?: number;
  to?: number;
}): Promise<Made> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const { name, issuer, ca = false, dns, from = -DAY, to = DAY } = options;
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: String(Math.floor(Math.random() * 1e9) + 1),
    subject: `CN=${name}`,
    issuer: issuer?.certificate.subject ?? `CN=${name}`,
    notBefore: new Date(Date.now() + from),
    notAfter: new Date(Date.now() + to),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: (issuer?.keys ?? keys).privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(ca, undefined, true),
      ...(dns ? [new x509.SubjectAlternativeNameExtension([{ type: 'ip', value: dns }])] : []),
    ],
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  const privatePem = `-----BEGIN PRIVATE KEY-----\n${pkcs8.toString('base64')}\n-----END PRIVATE KEY-----\n`;
  const pem = certificate.toString('pem');
  return { pem, privatePem, certificate: new X509Certificate(pem), keys };
}

const spki = ({ certificate }: Made) =>
  createHash('sha256')
    .update(certificate.publicKey.export({ type: 'spki', format: 'der' }))
    .digest();

describe('the certificate of a server', () => {
  let ca: Made;
  let other: Made;
  let leaf: Made;
  const servers: Server[] = [];

  beforeAll(async () => {
    ca = await make({ name: 'network', ca: true });
    other = await make({ name: 'network', ca: true });
    leaf = await make({ name: 'server', issuer: ca, dns: '127.0.0.1' });
  });
  afterAll(() => {
    for (const server of servers) server.close();
  });

  async function dialServer(chain: Made[], host = '127.0.0.1') {
    const server = createServer({
      cert: chain.map(({ pem }) => pem).join('\n'),
      key: chain[0]!.privatePem,
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const socket = await dial({
      host: '127.0.0.1',
      port: (server.address() as AddressInfo).port,
      tls: true,
      timeoutMs: 5000,
      clock: systemClock,
      checkPeer: (peer) => checkTlsPeer(peer, { host, caSpkiHash: spki(ca), nowMs: Date.now() }),
    });
    socket.destroy();
  }

  test('of the network is accepted', async () => {
    await expect(dialServer([leaf, ca])).resolves.toBeUndefined();
  });

  test.each([
    [
      'by another CA of the same name',
      async () => [await make({ name: 'server', issuer: other, dns: '127.0.0.1' }), other],
    ],
    [
      'by another CA, with the true one shown behind it',
      async () => [await make({ name: 'server', issuer: other, dns: '127.0.0.1' }), ca],
    ],
    ['self-signed', async () => [await make({ name: 'server', dns: '127.0.0.1' })]],
    [
      'for another address',
      async () => [await make({ name: 'server', issuer: ca, dns: '127.0.0.9' }), ca],
    ],
    [
      'expired',
      async () => [
        await make({ name: 'server', issuer: ca, dns: '127.0.0.1', from: -3 * DAY, to: -2 * DAY }),
        ca,
      ],
    ],
  ] as const)('%s is refused', async (_, chain) => {
    await expect(dialServer(await chain())).rejects.toMatchObject({
      code: 'ERR_AGENT_CA_MISMATCH',
    });
  });

  test('that a mere leaf of the network signed is refused', async () => {
    const below = await make({ name: 'deeper', issuer: leaf, dns: '127.0.0.1' });
    const chain = [below, leaf, ca].map(({ certificate }) => certificate);
    expect(() => checkChain(chain, { caSpkiHash: spki(ca), nowMs: Date.now() })).toThrow(
      'not signed',
    );
  });

  test('dates do not count while the clock is not synchronised', async () => {
    const old = await make({ name: 'server', issuer: ca, from: -3 * DAY, to: -2 * DAY });
    const chain = [old.certificate, ca.certificate];
    expect(() => checkChain(chain, { caSpkiHash: spki(ca), nowMs: null })).not.toThrow();
  });
});
