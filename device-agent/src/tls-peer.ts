/**
 * Whether a TLS server belongs to the network: its chain is signed by the CA whose key the descriptor pins,
 * and its certificate is for the name that was dialled. docs/spec/identity.md 3.2, 6.4.
 *
 * Done here and not by the TLS library, because dates count only while the clock is synchronised, and the
 * library's one error code may hide another behind a date. That the server holds the certificate's key, the
 * handshake proves in any case.
 */

import { createHash, X509Certificate } from 'node:crypto';
import { checkServerIdentity, type DetailedPeerCertificate, type TLSSocket } from 'node:tls';
import { AgentError } from './errors.ts';

/** Longest chain that is followed. */
const MAX_CHAIN = 5;

/**
 * @param caSpkiHash - SHA-256 of the CA's SubjectPublicKeyInfo.
 * @param nowMs - Unix time to judge dates by, or null to ignore them.
 * @throws {AgentError} ERR_AGENT_CA_MISMATCH
 */
export function checkTlsPeer(
  socket: TLSSocket,
  options: {
    readonly host: string;
    readonly caSpkiHash: Uint8Array;
    readonly nowMs: number | null;
  },
): void {
  const peer = socket.getPeerCertificate(true);
  const wrongName = checkServerIdentity(options.host, peer);
  if (wrongName !== undefined) throw mismatch(`certificate: ${wrongName.message}`);
  checkChain(chainOf(peer), options);
}

/**
 * @param chain - the server's certificate first, each signed by the next.
 * @throws {AgentError} ERR_AGENT_CA_MISMATCH
 */
export function checkChain(
  chain: readonly X509Certificate[],
  options: { readonly caSpkiHash: Uint8Array; readonly nowMs: number | null },
): void {
  const { caSpkiHash, nowMs } = options;
  for (const [at, certificate] of chain.slice(0, MAX_CHAIN).entries()) {
    if (nowMs !== null) checkDates(certificate, nowMs);
    const below = chain[at - 1];
    if (below !== undefined) {
      const signed = below.checkIssued(certificate) && below.verify(certificate.publicKey);
      if (!signed || !certificate.ca) throw mismatch('chain: a link is not signed by the next');
    }
    if (at > 0 && Buffer.compare(spkiHash(certificate), caSpkiHash) === 0) return;
  }
  throw mismatch('chain: expected to end in the CA of the network, got another');
}

function spkiHash(certificate: X509Certificate): Buffer {
  const spki = certificate.publicKey.export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(spki).digest();
}

function chainOf(peer: DetailedPeerCertificate): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let next: DetailedPeerCertificate | undefined = peer;
  while (next?.raw !== undefined && chain.length < MAX_CHAIN) {
    chain.push(new X509Certificate(next.raw));
    // A self-signed certificate is its own issuer.
    next = next.issuerCertificate === next ? undefined : next.issuerCertificate;
  }
  return chain;
}

function checkDates(certificate: X509Certificate, nowMs: number): void {
  if (nowMs >= Date.parse(certificate.validFrom) && nowMs <= Date.parse(certificate.validTo))
    return;
  const { validFrom, validTo } = certificate;
  throw mismatch(`certificate: valid from ${validFrom} to ${validTo}, which is not now`);
}

function mismatch(message: string): AgentError {
  return new AgentError('ERR_AGENT_CA_MISMATCH', message);
}
