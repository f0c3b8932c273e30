/** Rejects: signed notices of a refusal, with the way out. docs/spec/settlement.md section 4. */

import { CONTENT_TYPES, downAad, type Signer, seal } from '@fieldproof/protocol/envelope';
import { encodeReject } from '@fieldproof/protocol/settlement-messages';
import { remedyOf } from '../errors.ts';
import { type Fault, seedBytes, type VerifiedStamp } from './rules.ts';

/** Codes that the sender must wait out; all others are permanent. Section 4.3. */
const RETRY_AFTER_MS: Readonly<Record<string, number>> = {
  ERR_RATE_DEVICE: 1000,
  ERR_RATE_OWNER: 1000,
  ERR_SUSPENDED: 300_000,
  ERR_CREDENTIAL_EXPIRED: 60_000,
  ERR_LOG_FULL: 30_000,
  ERR_INTERNAL: 60_000,
};

export function isPermanent(code: string): boolean {
  return !Object.hasOwn(RETRY_AFTER_MS, code);
}

/** Codes that say nothing about the sender: it did not know, or has paid for it already. */
const NO_FAULT = new Set(['ERR_RATE_DEVICE', 'ERR_RATE_OWNER', 'ERR_LOG_FULL', 'ERR_INTERNAL']);

/** Whether the sender is to blame, so that the refusal counts against its rate. Section 1.6. */
export function isSendersFault(code: string): boolean {
  return !NO_FAULT.has(code);
}

/** Seals the reject of one envelope; `stamp` only when its signature verified. */
export function sealReject(
  fault: Fault,
  subject: { readonly digest: Uint8Array; readonly stamp: VerifiedStamp | null },
  context: { readonly network: string; readonly deviceId: string; readonly signer: Signer },
): Uint8Array {
  const { digest, stamp } = subject;
  const { network, deviceId, signer } = context;
  const retryAfterMs = fault.retryAfterMs ?? RETRY_AFTER_MS[fault.code];
  const payload = encodeReject({
    digest,
    boot: stamp && [stamp.bootCounter, seedBytes(stamp.bootSeed)],
    seq: stamp === null ? null : stamp.seq,
    code: fault.code,
    remedy: remedyOf(fault.code),
    permanent: isPermanent(fault.code),
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  });
  const externalAad = downAad(network, 'reject', deviceId);
  return seal({ contentType: CONTENT_TYPES.cbor, payload, externalAad, signer });
}
