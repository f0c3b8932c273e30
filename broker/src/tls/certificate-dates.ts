/** When the certificates in a data folder end. */

import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const FILES = { ca: 'keys/ca.pem', server: 'keys/server.pem' } as const;

export interface CertificateDates {
  /** SHA-256 of the certificate, hex with colons. */
  readonly fingerprint: string;
  readonly subject: string;
  /** Unix ms. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** The first certificate of each file that is there; one that cannot be read is left out. */
export function certificateDates(dataDir: string): Readonly<Record<string, CertificateDates>> {
  const found: Record<string, CertificateDates> = {};
  for (const [name, file] of Object.entries(FILES)) {
    try {
      const certificate = new X509Certificate(readFileSync(join(dataDir, file)));
      found[name] = {
        fingerprint: certificate.fingerprint256,
        subject: certificate.subject.replace(/\n/g, ', '),
        notBefore: Date.parse(certificate.validFrom),
        notAfter: Date.parse(certificate.validTo),
      };
    } catch {
      // Without `lan` there is none.
    }
  }
  return found;
}
