/**
 * The network's own certificate authority and its server certificate.
 *
 * ECDSA on P-256, since TLS stacks of small clients know it everywhere. Devices trust the CA through the hash of its
 * SubjectPublicKeyInfo in the network descriptor, so its certificate can be made again with the same key.
 *
 * Import it with `import()` after `reflect-metadata`: brokers without TLS do not pay for it.
 */

import { createHash, webcrypto, X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';
import { replaceFile } from '../replace-file.ts';
import { covers } from './covers.ts';
import type { TlsMaterial } from './tls-material.ts';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;
const CA_LIFE_MS = 20 * 365 * DAY_MS;
const SERVER_LIFE_MS = 397 * DAY_MS;
/** A server certificate is replaced so long before its end. */
const RENEW_BEFORE_MS = 60 * DAY_MS;
/** Devices without a battery-backed clock start in the past. */
const BACKDATE_MS = DAY_MS;

/**
 * Loads CA and server certificate of a data folder; makes what is missing, about to expire or for other names.
 *
 * @param options.names - host names and IP addresses that the server certificate must cover.
 * @param options.own - those of them that the operator named.
 */
export async function loadTls(
  dataDir: string,
  options: {
    readonly network: string;
    readonly names: readonly string[];
    readonly own: readonly string[];
    readonly now: number;
  },
): Promise<TlsMaterial> {
  x509.cryptoProvider.set(webcrypto as never);
  const folder = join(dataDir, 'keys');
  const ca = await loadAuthority(folder, options);
  const names = [...new Set(options.names)].sort();
  const stored = readServer(folder);
  const usable =
    stored !== null &&
    stored.certificate.notAfter.getTime() - RENEW_BEFORE_MS > options.now &&
    sameNames(stored.certificate, names) &&
    (await stored.certificate.verify({ publicKey: ca.certificate.publicKey, signatureOnly: true }));
  const server = usable && stored ? stored : await issueServer(folder, ca, { ...options, names });
  const spki = Buffer.from(ca.certificate.publicKey.rawData);
  const caPem = `${ca.certificate.toString('pem')}\n`;
  const certificate = new X509Certificate(server.certificate.toString('pem'));
  return {
    source: 'own',
    caPem,
    caHash: Uint8Array.from(createHash('sha256').update(spki).digest()),
    cert: `${server.certificate.toString('pem')}\n${caPem}`,
    key: server.key,
    expires: server.certificate.notAfter.getTime(),
    names: options.own,
    covers: (name) => covers(certificate, name),
  };
}

interface Authority {
  readonly certificate: x509.X509Certificate;
  readonly privateKey: webcrypto.CryptoKey;
}

async function loadAuthority(
  folder: string,
  options: { readonly network: string; readonly now: number },
): Promise<Authority> {
  const keyPath = join(folder, 'ca.key');
  const certPath = join(folder, 'ca.pem');
  if (existsSync(keyPath) && existsSync(certPath)) {
    const certificate = new x509.X509Certificate(readFileSync(certPath, 'utf8'));
    return { certificate, privateKey: await importKey(readFileSync(keyPath, 'utf8')) };
  }
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: `CN=Fieldproof ${options.network} CA`,
    notBefore: new Date(options.now - BACKDATE_MS),
    notAfter: new Date(options.now + CA_LIFE_MS),
    signingAlgorithm: ALGORITHM,
    keys: keys as never,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey as never),
    ],
  });
  replaceFile(keyPath, await exportKey(keys.privateKey));
  replaceFile(certPath, `${certificate.toString('pem')}\n`, 0o644);
  return { certificate, privateKey: keys.privateKey };
}

interface ServerCertificate {
  readonly certificate: x509.X509Certificate;
  readonly key: string;
}

function readServer(folder: string): ServerCertificate | null {
  const keyPath = join(folder, 'server.key');
  const certPath = join(folder, 'server.pem');
  if (!existsSync(keyPath) || !existsSync(certPath)) return null;
  try {
    const certificate = new x509.X509Certificate(readFileSync(certPath, 'utf8'));
    return { certificate, key: readFileSync(keyPath, 'utf8') };
  } catch {
    return null;
  }
}

async function issueServer(
  folder: string,
  ca: Authority,
  options: { readonly names: readonly string[]; readonly now: number },
): Promise<ServerCertificate> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: 'CN=Fieldproof broker',
    issuer: ca.certificate.subject,
    notBefore: new Date(options.now - BACKDATE_MS),
    notAfter: new Date(options.now + SERVER_LIFE_MS),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey as never,
    signingKey: ca.privateKey as never,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(options.names.map(generalName)),
      await x509.AuthorityKeyIdentifierExtension.create(ca.certificate.publicKey),
    ],
  });
  const key = await exportKey(keys.privateKey);
  replaceFile(join(folder, 'server.key'), key);
  replaceFile(join(folder, 'server.pem'), `${certificate.toString('pem')}\n`, 0o644);
  return { certificate, key };
}

function generalName(name: string): { type: 'ip' | 'dns'; value: string } {
  return { type: isAddress(name) ? 'ip' : 'dns', value: name };
}

function isAddress(name: string): boolean {
  return name.includes(':') || /^\d{1,3}(\.\d{1,3}){3}$/.test(name);
}

function sameNames(certificate: x509.X509Certificate, names: readonly string[]): boolean {
  const extension = certificate.getExtension(x509.SubjectAlternativeNameExtension);
  const stored = new Set(extension?.names.items.map((item) => item.value) ?? []);
  return names.every((name) => stored.has(name));
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key)).toString('base64');
  const lines = pkcs8.match(/.{1,64}/g)!.join('\n');
  return `-----BEGIN PRIVATE KEY-----\n${lines}\n-----END PRIVATE KEY-----\n`;
}

async function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  const pkcs8 = Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
  return webcrypto.subtle.importKey('pkcs8', pkcs8, ALGORITHM, false, ['sign']);
}

/** 16 random bytes, positive (RFC 5280 section 4.1.2.2). */
function serialNumber(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16));
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return Buffer.from(bytes).toString('hex');
}
