/** Certificates for tests, as a public or a company's CA would issue them. */

import { webcrypto } from 'node:crypto';
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;

export interface Issued {
  readonly pem: string;
  readonly keyPem: string;
  readonly certificate: x509.X509Certificate;
  readonly privateKey: webcrypto.CryptoKey;
}

export interface IssueOptions {
  readonly subject: string;
  /** Absent: self-signed. */
  readonly issuer?: Issued;
  readonly isCa?: boolean;
  readonly dns?: readonly string[];
  readonly addresses?: readonly string[];
  /** Days from now. */
  readonly from?: number;
  readonly to?: number;
  readonly usage?: 'serverAuth' | 'clientAuth';
  /** Of another certificate, to be issued again. */
  readonly keys?: webcrypto.CryptoKeyPair;
}

export async function issue(options: IssueOptions): Promise<Issued> {
  x509.cryptoProvider.set(webcrypto as never);
  const keys =
    options.keys ?? (await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']));
  const names = [
    ...(options.dns ?? []).map((value) => ({ type: 'dns' as const, value })),
    ...(options.addresses ?? []).map((value) => ({ type: 'ip' as const, value })),
  ];
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: Buffer.from(webcrypto.getRandomValues(new Uint8Array(8))).toString('hex'),
    subject: options.subject,
    issuer: options.issuer?.certificate.subject ?? options.subject,
    notBefore: new Date(Date.now() + (options.from ?? -1) * DAY_MS),
    notAfter: new Date(Date.now() + (options.to ?? 90) * DAY_MS),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey as never,
    signingKey: (options.issuer?.privateKey ?? keys.privateKey) as never,
    extensions: [
      new x509.BasicConstraintsExtension(options.isCa === true, undefined, true),
      ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names)] : []),
      ...(options.usage
        ? [new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage[options.usage]])]
        : []),
    ],
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  const body = pkcs8.toString('base64').replace(/.{64}/g, '$&\n');
  return {
    pem: `${certificate.toString('pem')}\n`,
    keyPem: `-----BEGIN PRIVATE KEY-----\n${body}\n-----END PRIVATE KEY-----\n`,
    certificate,
    privateKey: keys.privateKey,
  };
}

/** A root, one below it, and a server certificate for `localhost` and 127.0.0.1. */
export async function issueChain(): Promise<{ root: Issued; middle: Issued; server: Issued }> {
  const root = await issue({ subject: 'CN=Test Root', isCa: true, to: 900 });
  const middle = await issue({ subject: 'CN=Test Issuer', issuer: root, isCa: true, to: 400 });
  const server = await issueServer(middle);
  return { root, middle, server };
}

export function issueServer(issuer: Issued, changes: Partial<IssueOptions> = {}): Promise<Issued> {
  return issue({
    subject: 'CN=Test Server',
    issuer,
    dns: ['localhost', 'broker.example.org'],
    addresses: ['127.0.0.1', '2001:db8::7'],
    usage: 'serverAuth',
    ...changes,
  });
}
