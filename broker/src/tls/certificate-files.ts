/**
 * A server certificate that the operator brings: read, checked against everything that devices will check, and
 * brought into the form in which it is sent.
 *
 * Devices pin the SubjectPublicKeyInfo of one CA of the chain and know no others (docs/spec/identity.md 2.1, 3.2), so
 * that CA's certificate has to be among those that the server sends, also where other clients have it already.
 */

import { createHash, createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { BrokerError } from '../errors.ts';
import { covers } from './covers.ts';
import type { TlsMaterial } from './tls-material.ts';

export interface CertificateFiles {
  /** PEM: the server's certificate first, then those that lead to a CA. */
  readonly cert: string;
  /** PEM, without a passphrase. */
  readonly key: string;
  /** PEM of the CA whose key devices pin; empty: the last that the chain leads to. */
  readonly ca: string;
}

/** Devices follow no longer chain. */
const MAX_CHAIN = 5;
/** Of RSA, and of elliptic curves. */
const MIN_MODULUS_BITS = 2048;
const MIN_CURVE_BITS = 256;
const MAX_FILE_BYTES = 1024 * 1024;
/** id-kp-serverAuth, RFC 5280 section 4.2.1.12. */
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/**
 * Reads and checks the files.
 *
 * @param options.names - names and addresses that the certificate has to cover; none: those that it states.
 * @throws {BrokerError} ERR_TLS_FILE, ERR_TLS_KEY, ERR_TLS_DATES, ERR_TLS_NAMES or ERR_TLS_CHAIN.
 */
export function loadCertificateFiles(
  files: CertificateFiles,
  options: { readonly names: readonly string[]; readonly now: number },
): TlsMaterial {
  const [leaf, ...others] = readCertificates(files.cert);
  const pinned = files.ca === '' ? null : readCertificates(files.ca)[0]!;
  const key = read(files.key);
  checkKey(leaf!, { pem: key, path: files.key });
  const path = pathFrom(leaf!, pinned === null ? others : [...others, pinned]);
  const ca = pinned ?? path.at(-1)!;
  const pinnedAt = path.findIndex((certificate, at) => at > 0 && sameKey(certificate, ca));
  if (pinnedAt < 0) throw chainError(files, path);
  if (pinnedAt >= MAX_CHAIN) {
    const got = `got ${pinnedAt + 1}`;
    throw new BrokerError(
      'ERR_TLS_CHAIN',
      `${files.cert}: expected at most ${MAX_CHAIN} certificates up to the pinned CA, ${got}`,
    );
  }
  const checked = path.slice(0, pinnedAt + 1);
  for (const certificate of checked) {
    checkStrength(certificate, files.cert);
    checkDates(certificate, options.now);
  }
  checkUsage(leaf!, files.cert);
  const stated = statedNames(leaf!);
  const names = options.names.length > 0 ? options.names : stated;
  checkNames(leaf!, { names, stated, path: files.cert });
  const cert = path.map(String).join('');
  try {
    createSecureContext({ key, cert });
  } catch (cause) {
    throw new BrokerError('ERR_TLS_FILE', `${files.cert}: ${(cause as Error).message}`, { cause });
  }
  return {
    source: 'files',
    caPem: String(path[pinnedAt]),
    caHash: spkiHash(path[pinnedAt]!),
    cert,
    key,
    expires: Math.min(...checked.map(({ validTo }) => Date.parse(validTo))),
    names,
    covers: (name) => covers(leaf!, name),
  };
}

function read(path: string): string {
  try {
    const bytes = readFileSync(path);
    if (bytes.length <= MAX_FILE_BYTES) return bytes.toString('latin1');
  } catch (cause) {
    const { code = 'unreadable' } = cause as NodeJS.ErrnoException;
    throw new BrokerError('ERR_TLS_FILE', `${path}: ${code}`, { cause });
  }
  throw new BrokerError('ERR_TLS_FILE', `${path}: expected at most ${MAX_FILE_BYTES} bytes`);
}

function readCertificates(path: string): X509Certificate[] {
  const blocks = read(path).match(PEM_CERTIFICATE) ?? [];
  if (blocks.length === 0) {
    throw new BrokerError('ERR_TLS_FILE', `${path}: expected certificates as PEM, got none`);
  }
  return blocks.map((pem, at) => {
    try {
      return new X509Certificate(pem);
    } catch (cause) {
      const message = `${path}: certificate ${at + 1} is damaged`;
      throw new BrokerError('ERR_TLS_FILE', message, { cause });
    }
  });
}

function checkKey(
  leaf: X509Certificate,
  { pem, path }: { readonly pem: string; readonly path: string },
): void {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    const got = pem.includes('ENCRYPTED') ? 'it has a passphrase' : 'there is none in it';
    throw new BrokerError('ERR_TLS_KEY', `${path}: expected a private key as PEM, ${got}`);
  }
  if (leaf.checkPrivateKey(key)) return;
  throw new BrokerError('ERR_TLS_KEY', `${path}: not the key of ${name(leaf)}`);
}

/** The certificates from the server's upwards, each signed by the next, as far as there are any. */
function pathFrom(leaf: X509Certificate, others: readonly X509Certificate[]): X509Certificate[] {
  const path = [leaf];
  const left = new Set(others);
  for (let below = leaf; !isSigned(below, below); ) {
    const above: X509Certificate | undefined = [...left].find((other) => isSigned(below, other));
    if (above === undefined) break;
    left.delete(above);
    path.push(above);
    below = above;
  }
  return path;
}

function isSigned(below: X509Certificate, above: X509Certificate): boolean {
  return above.ca && below.checkIssued(above) && below.verify(above.publicKey);
}

function chainError(files: CertificateFiles, path: readonly X509Certificate[]): BrokerError {
  const top = path.at(-1)!;
  if (files.ca !== '') {
    const message = `${files.cert}: expected a chain to ${files.ca}, it ends at ${name(top)}, issued by ${inLine(top.issuer)}`;
    return new BrokerError('ERR_TLS_CHAIN', message);
  }
  const message = `${files.cert}: expected the certificate of a CA after that of the server, got none that signed it (issuer: ${inLine(top.issuer)})`;
  return new BrokerError('ERR_TLS_CHAIN', message);
}

/** Keys that are broken for money, or soon, prove no server. NIST SP 800-57 part 1: 112 bits of security and more. */
function checkStrength(certificate: X509Certificate, path: string): void {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details = {} } = certificate.publicKey;
  const { modulusLength, namedCurve } = details;
  const isCurve = namedCurve !== undefined;
  // The names of curves state their size: prime256v1, secp384r1, brainpoolP512r1.
  const bits = isCurve ? Number(/\d{3}/.exec(namedCurve)?.[0] ?? 0) : modulusLength;
  const least = isCurve ? MIN_CURVE_BITS : MIN_MODULUS_BITS;
  if (bits === undefined || bits >= least) return;
  const message = `${path}: ${name(certificate)}: expected a key of ${least} bits or more, got ${type ?? ''} of ${bits}`;
  throw new BrokerError('ERR_TLS_KEY', message);
}

function checkDates(certificate: X509Certificate, now: number): void {
  const { validFrom, validTo } = certificate;
  if (now >= Date.parse(validFrom) && now <= Date.parse(validTo)) return;
  const message = `${name(certificate)}: valid from ${validFrom} to ${validTo}, it is ${new Date(now).toISOString()}`;
  throw new BrokerError('ERR_TLS_DATES', message);
}

function checkUsage(leaf: X509Certificate, path: string): void {
  // Node calls the extended key usages so.
  const usages: readonly string[] | undefined = leaf.keyUsage;
  if (usages === undefined || usages.includes(SERVER_AUTH)) return;
  throw new BrokerError('ERR_TLS_CHAIN', `${path}: ${name(leaf)} is not for servers`);
}

function checkNames(
  leaf: X509Certificate,
  options: {
    readonly names: readonly string[];
    readonly stated: readonly string[];
    readonly path: string;
  },
): void {
  const { names, stated, path } = options;
  const missing = names.filter((each) => !covers(leaf, each));
  if (names.length > 0 && missing.length === 0) return;
  const expected = names.length === 0 ? 'a name without a wildcard' : missing.join(', ');
  const got = stated.length === 0 ? inLine(leaf.subjectAltName ?? 'none') : stated.join(', ');
  throw new BrokerError('ERR_TLS_NAMES', `${path}: expected it to cover ${expected}, got ${got}`);
}

/** Names and addresses in the certificate that are no patterns. */
function statedNames({ subjectAltName = '' }: X509Certificate): readonly string[] {
  return subjectAltName.split(', ').flatMap((entry) => {
    const [, host, address] = /^(?:DNS:([a-z0-9.-]+)|IP Address:([0-9a-f.:]+))$/i.exec(entry) ?? [];
    return [host ?? address ?? []].flat();
  });
}

function sameKey(a: X509Certificate, b: X509Certificate): boolean {
  return Buffer.compare(spkiHash(a), spkiHash(b)) === 0;
}

function spkiHash(certificate: X509Certificate): Uint8Array {
  const spki = certificate.publicKey.export({ type: 'spki', format: 'der' });
  return Uint8Array.from(createHash('sha256').update(spki).digest());
}

function name(certificate: X509Certificate): string {
  return inLine(certificate.subject || certificate.subjectAltName || certificate.serialNumber);
}

/** Node writes a name on several lines. */
function inLine(text: string): string {
  return text.replace(/\n/g, ', ').slice(0, 200);
}
