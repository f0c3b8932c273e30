/** Whether a certificate is for a name, as clients judge it today: by the alternative names only. */

import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';

/** @param name - a host name or an IP address. */
export function covers(certificate: X509Certificate, name: string): boolean {
  if (isIP(name) !== 0) return certificate.checkIP(name) !== undefined;
  return certificate.checkHost(name, { subject: 'never' }) !== undefined;
}
