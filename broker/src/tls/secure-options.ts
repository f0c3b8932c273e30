/**
 * How our TLS listeners speak: TLS 1.2 and 1.3, forward secrecy and authenticated ciphers only, no renegotiation.
 *
 * The lists are those of RFC 9325 sections 3.1 and 4.2 without the finite-field exchanges. Among ciphers of equal
 * worth the client chooses: a small device without AES in hardware takes ChaCha20.
 */

import { constants } from 'node:crypto';
import type { SecureContextOptions } from 'node:tls';

export type TlsVersion = 'TLSv1.2' | 'TLSv1.3';

export const TLS_VERSIONS: readonly TlsVersion[] = ['TLSv1.2', 'TLSv1.3'];

/** Session tickets are sealed with keys that live so long, so that a stolen one opens little. */
export const TICKET_KEY_LIFE_MS = 12 * 3_600_000;

const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

/** Everything that a secure context is made of; a server that gets a new certificate needs it whole again. */
export function secureOptions(
  { key, cert }: { readonly key: string; readonly cert: string },
  minVersion: TlsVersion,
): SecureContextOptions {
  return {
    key,
    cert,
    minVersion,
    ciphers: CIPHERS,
    honorCipherOrder: false,
    // A client that renegotiates makes us pay for a handshake each time. RFC 9325 section 3.5.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  };
}
