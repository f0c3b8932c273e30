/** Certificates that operators bring: what is taken, what is refused and why. */

import { createHash, generateKeyPairSync, webcrypto, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadCertificateFiles } from '@fieldproof/broker/tls/certificate-files';
import { Certificates } from '@fieldproof/broker/tls/certificates';
import { checkChain } from '@fieldproof/device-agent/tls-peer';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Issued, issue, issueChain, issueServer } from './support/certificates.ts';

const folder = mkdtempSync(join(tmpdir(), 'fieldproof-certificates-'));
let root: Issued;
let middle: Issued;
let server: Issued;

beforeAll(async () => {
  ({ root, middle, server } = await issueChain());
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, content: string): string {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
}

function load(
  parts: { readonly cert?: string; readonly key?: string; readonly ca?: string },
  options: { readonly names?: readonly string[]; readonly now?: number } = {},
) {
  const cert = file('cert.pem', parts.cert ?? server.pem + middle.pem + root.pem);
  const key = file('key.pem', parts.key ?? server.keyPem);
  const ca = parts.ca === undefined ? '' : file('ca.pem', parts.ca);
  const { names = [], now = Date.now() } = options;
  return loadCertificateFiles({ cert, key, ca }, { names, now });
}

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return 'taken';
}

function spkiHash({ certificate }: Issued): string {
  return createHash('sha256').update(Buffer.from(certificate.publicKey.rawData)).digest('hex');
}

/** What a device does with what is sent. */
function checkAsDevice(material: ReturnType<typeof load>): void {
  const chain = material.cert.match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g)!;
  const certificates = chain.map((pem) => new X509Certificate(pem));
  checkChain(certificates, { caSpkiHash: material.caHash, nowMs: Date.now() });
}

describe('what is taken', () => {
  test('a full chain: devices pin its last certificate', () => {
    const material = load({});
    expect(Buffer.from(material.caHash).toString('hex')).toBe(spkiHash(root));
    expect(material.names).toEqual([
      'localhost',
      'broker.example.org',
      '127.0.0.1',
      '2001:DB8:0:0:0:0:0:7',
    ]);
    checkAsDevice(material);
  });

  test('a chain that ends below the CA: the CA of tlsCa is sent with it', () => {
    const material = load({ cert: server.pem + middle.pem, ca: root.pem });
    expect(Buffer.from(material.caHash).toString('hex')).toBe(spkiHash(root));
    expect(material.cert.match(/BEGIN/g)).toHaveLength(3);
    checkAsDevice(material);
  });

  test('tlsCa may name a certificate in the middle: what is above it is sent for other clients', () => {
    const material = load({ ca: middle.pem });
    expect(Buffer.from(material.caHash).toString('hex')).toBe(spkiHash(middle));
    expect(material.cert.match(/BEGIN/g)).toHaveLength(3);
    checkAsDevice(material);
  });

  test('certificates out of order, with one that does not belong, are put in order', async () => {
    const stranger = await issue({ subject: 'CN=Stranger', isCa: true });
    const material = load({ cert: server.pem + stranger.pem + root.pem + middle.pem });
    expect(material.cert.match(/BEGIN/g)).toHaveLength(3);
    checkAsDevice(material);
  });

  test('text between the certificates and a name that the operator sets', () => {
    const cert = `subject=x\n${server.pem}\nissuer - y\n${middle.pem}`;
    const material = load({ cert }, { names: ['broker.example.org'] });
    expect(material.names).toEqual(['broker.example.org']);
    expect(material.covers('127.0.0.1')).toBe(true);
    expect(material.covers('10.0.0.1')).toBe(false);
  });

  test('the end is that of the first certificate to expire, up to the pinned one', () => {
    const days = (load({}).expires - Date.now()) / 86_400_000;
    expect(Math.round(days)).toBe(90);
  });
});

describe('what is refused', () => {
  test('files that are missing, empty, cut or no certificates', () => {
    expect(
      codeOf(() =>
        loadCertificateFiles(
          { cert: join(folder, 'none'), key: 'k', ca: '' },
          { names: [], now: 0 },
        ),
      ),
    ).toBe('ERR_TLS_FILE');
    expect(codeOf(() => load({ cert: '' }))).toBe('ERR_TLS_FILE');
    expect(codeOf(() => load({ cert: server.pem.slice(0, 300) }))).toBe('ERR_TLS_FILE');
    expect(
      codeOf(() => load({ cert: server.pem.replace(/.{200}\n-----END/s, '\n-----END') })),
    ).toBe('ERR_TLS_FILE');
    expect(codeOf(() => load({ ca: 'nothing' }))).toBe('ERR_TLS_FILE');
  });

  test('a key that is another’s, none, or sealed with a passphrase; the message does not show it', () => {
    expect(codeOf(() => load({ key: middle.keyPem }))).toBe('ERR_TLS_KEY');
    expect(codeOf(() => load({ key: 'no key' }))).toBe('ERR_TLS_KEY');
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const sealed = {
      type: 'pkcs8',
      format: 'pem',
      cipher: 'aes-256-cbc',
      passphrase: 'x',
    } as const;
    expect(() => load({ key: privateKey.export(sealed).toString() })).toThrow(
      'it has a passphrase',
    );
  });

  test('a key of 1,024 bits, though a CA has signed it', async () => {
    const rsa = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
    const length = { modulusLength: 1024, publicExponent: new Uint8Array([1, 0, 1]) };
    const usages = ['sign', 'verify'] as const;
    const keys = await webcrypto.subtle.generateKey({ ...rsa, ...length }, true, [...usages]);
    const weak = await issue({ subject: 'CN=weak', issuer: middle, dns: ['localhost'], keys });
    const files = { cert: weak.pem + middle.pem + root.pem, key: weak.keyPem };
    expect(() => load(files)).toThrow(/2048 bits or more, got rsa of 1024/);
    expect(codeOf(() => load(files))).toBe('ERR_TLS_KEY');
  });

  test('dates: of the server, of a certificate between, not yet and no more', async () => {
    const late = await issueServer(middle, { from: -20, to: -1 });
    expect(codeOf(() => load({ cert: late.pem + middle.pem, key: late.keyPem }))).toBe(
      'ERR_TLS_DATES',
    );
    const early = await issueServer(middle, { from: 2 });
    expect(codeOf(() => load({ cert: early.pem + middle.pem, key: early.keyPem }))).toBe(
      'ERR_TLS_DATES',
    );
    const old = await issue({
      subject: 'CN=Old Issuer',
      issuer: root,
      isCa: true,
      to: -1,
      from: -9,
    });
    const below = await issueServer(old);
    const cert = below.pem + old.pem + root.pem;
    expect(codeOf(() => load({ cert, key: below.keyPem }))).toBe('ERR_TLS_DATES');
  });

  test('names that it is not for; wildcards alone name nothing', async () => {
    expect(codeOf(() => load({}, { names: ['localhost', 'other.example.org'] }))).toBe(
      'ERR_TLS_NAMES',
    );
    const wild = await issueServer(middle, { dns: ['*.example.org'], addresses: [] });
    const parts = { cert: wild.pem + middle.pem, key: wild.keyPem };
    expect(codeOf(() => load(parts))).toBe('ERR_TLS_NAMES');
    expect(load(parts, { names: ['site7.example.org'] }).names).toEqual(['site7.example.org']);
  });

  test('chains that do not lead to the CA, are too long, or hold none', async () => {
    expect(codeOf(() => load({ cert: server.pem }))).toBe('ERR_TLS_CHAIN');
    expect(codeOf(() => load({ cert: server.pem + root.pem }))).toBe('ERR_TLS_CHAIN');
    const stranger = await issue({ subject: 'CN=Test Root', isCa: true });
    expect(codeOf(() => load({ ca: stranger.pem }))).toBe('ERR_TLS_CHAIN');
    const alone = await issue({ subject: 'CN=alone', dns: ['localhost'] });
    expect(codeOf(() => load({ cert: alone.pem, key: alone.keyPem }))).toBe('ERR_TLS_CHAIN');
    // A server certificate is no CA, whatever it signs.
    const child = await issueServer(server);
    const cert = child.pem + server.pem + middle.pem;
    expect(codeOf(() => load({ cert, key: child.keyPem, ca: middle.pem }))).toBe('ERR_TLS_CHAIN');
    const client = await issueServer(middle, { usage: 'clientAuth' });
    expect(codeOf(() => load({ cert: client.pem + middle.pem, key: client.keyPem }))).toBe(
      'ERR_TLS_CHAIN',
    );
    let above = root;
    let chain = root.pem;
    for (let i = 0; i < 4; i++) {
      above = await issue({ subject: `CN=Level ${i}`, issuer: above, isCa: true });
      chain = above.pem + chain;
    }
    const deep = await issueServer(above);
    expect(codeOf(() => load({ cert: deep.pem + chain, key: deep.keyPem }))).toBe('ERR_TLS_CHAIN');
  });
});

test('files that can no longer be looked at leave the certificate in use, and the broker', async () => {
  const cert = file('watched.pem', server.pem + middle.pem + root.pem);
  const key = file('watched-key.pem', server.keyPem);
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  const certificates = await Certificates.load({
    ...{ dataDir: folder, network: 'net', files: { cert, key, ca: '' }, names: [] },
    ...{ minVersion: 'TLSv1.2', pollMs: 1000, now: Date.now, log: log as never },
  });
  rmSync(cert);
  symlinkSync(cert, cert);
  await certificates.reload();
  expect(certificates.status().problem?.code).toBe('ERR_TLS_FILE');
  expect(certificates.current.cert).toContain(server.pem.trim());
});
