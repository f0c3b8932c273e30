/** When certificates end. */

import { X509Certificate } from 'node:crypto';

export interface CertificateDates {
  /** SHA-256 of the certificate, hex with colons. */
  readonly fingerprint: string;
  readonly subject: string;
  /** Unix ms. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/**
 * The dates of the first certificate of each.
 *
 * @param certificates - PEM by name; what is not there or cannot be read is left out.
 */
export function certificateDates(
  certificates: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, CertificateDates>> {
  const found: Record<string, CertificateDates> = {};
  for (const [name, pem] of Object.entries(certificates)) {
    if (pem === undefined) continue;
    try {
      const certificate = new X509Certificate(pem);
      found[name] = {
        fingerprint: certificate.fingerprint256,
        subject: certificate.subject.replace(/\n/g, ', '),
        notBefore: Date.parse(certificate.validFrom),
        notAfter: Date.parse(certificate.validTo),
      };
    } catch {
      // A damaged file is not in use; the status tells.
    }
  }
  return found;
}
