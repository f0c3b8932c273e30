/** Checks the login in a CONNECT. docs/spec/identity.md section 6. */

import { decodeUtf8, equalBytes, fromBase64url } from '@fieldproof/protocol/bytes';
import { publicKeyFromDeviceId } from '@fieldproof/protocol/did-key';
import type { Verify } from '@fieldproof/protocol/envelope';
import { openLogin } from '@fieldproof/protocol/statements';
import type { DeviceKey, Session } from '../gate/session.ts';
import type { Nonces } from '../nonces.ts';

export interface LoginContext {
  readonly network: string;
  readonly nonces: Nonces;
  readonly verify: Verify;
  readonly deviceKey: (deviceId: string) => DeviceKey | null;
}

export type LoginVerdict =
  | { readonly session: Session }
  /**
   * CONNACK return code 4: bad password, nonce or signature; 5: unknown or suspended device; 3: no place for one more
   * session. Section 6.2.
   */
  | { readonly returnCode: 3 | 4 | 5; readonly reason: string };

/** Whether a login that was good still is: while it is answered, a device may be suspended or get another key. */
export function isStillGood(
  { deviceId, kid }: Pick<Session, 'deviceId' | 'kid'>,
  deviceKey: LoginContext['deviceKey'],
): boolean {
  const key = deviceKey(deviceId);
  return key !== null && key.standing !== 'suspended' && equalBytes(key.kid, kid);
}

/** Judges a login and uses up its nonce when it is good. */
export function judgeLogin(
  deviceId: string,
  password: Uint8Array | undefined,
  context: LoginContext,
): LoginVerdict {
  const key = context.deviceKey(deviceId);
  if (key === null) return { returnCode: 5, reason: 'ERR_DEVICE_UNKNOWN' };
  if (key.standing === 'suspended') return { returnCode: 5, reason: 'ERR_SUSPENDED' };
  try {
    const login = fromBase64url(decodeUtf8(password ?? new Uint8Array(0)));
    const { network, nonces, verify } = context;
    const { publicKey, kid } = key;
    const nonce = openLogin(login, { network, publicKey, verify, device: deviceId });
    const nonceIssuedAt = nonces.use(nonce);
    const session: Session = {
      deviceId,
      deviceKey: publicKeyFromDeviceId(deviceId),
      nonce: Buffer.from(nonce).toString('latin1'),
      nonceIssuedAt,
      kid,
      slots: [],
      judged: 0,
    };
    return { session };
  } catch (error) {
    return { returnCode: 4, reason: (error as { code?: string }).code ?? 'ERR_INTERNAL' };
  }
}
