/** Another key for a device, asked for by it or by its owner. docs/spec/identity.md section 7. */

import { equalBytes } from '@fieldproof/protocol/bytes';
import { deviceIdFromPublicKey, publicKeyFromDidKey } from '@fieldproof/protocol/did-key';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { isSuspended } from '@fieldproof/protocol/registry-device';
import { openRotation, type Rotation } from '@fieldproof/protocol/rotation';
import { BrokerError } from '../errors.ts';
import type { RateLimiter } from '../rate-limit.ts';
import {
  answerFor,
  checkRequestLength,
  credentialLife,
  DAY_MS,
  type DeskOptions,
  requireEnrolled,
} from './desk.ts';
import { checkFirstBoot, checkHistory } from './key-rules.ts';
import type { Device } from './registry.ts';

/** Whose key signed: the owner's, the device's, or the one that the device's has replaced. */
type Role = 'owner' | 'device' | 'replaced';

interface Signed {
  readonly rotation: Rotation;
  readonly signedBy: Uint8Array;
  readonly request: Uint8Array;
}

export interface RotationOptions extends DeskOptions {
  /** Rotations by each device and, apart from them, by its owner: whoever has stolen one key must not use up the other's. */
  readonly rotationLimit: Pick<RateLimiter, 'take'>;
}

export class RotationDesk {
  private readonly options: RotationOptions;

  constructor(options: RotationOptions) {
    this.options = options;
  }

  /**
   * Answers a request, a COSE_Sign1 by the device's key or its owner's.
   *
   * @returns the encoded answer, that of an enrolment.
   * @throws {ProtocolError} when it is malformed or a signature does not verify.
   * @throws {BrokerError} ERR_DEVICE_UNKNOWN, ERR_NONCE_INVALID, ERR_KEY_RETIRED, ERR_KEY_IN_USE, ERR_FIRST_BOOT,
   * ERR_TOO_MANY_KEYS, ERR_ROTATION_RATE, ERR_SUSPENDED, ERR_REQUEST, ERR_LOG_FULL.
   */
  async rotate(request: Uint8Array): Promise<Uint8Array> {
    const { network, nonces, directory } = this.options;
    checkRequestLength(request);
    const { body: rotation, signedBy } = openRotation(request, {
      network,
      verify,
      signers: (deviceId) => [...keysByRole(requireEnrolled(directory, deviceId)).values()],
    });
    nonces.check(rotation.nonce);
    const names = [rotation.device, deviceIdFromPublicKey(rotation.key)];
    return directory.inTurn(names, () => this.rotateInTurn({ rotation, signedBy, request }));
  }

  private async rotateInTurn({ rotation, signedBy, request }: Signed): Promise<Uint8Array> {
    const { directory, nonces, disconnect, now, rotationGraceDays } = this.options;
    const device = requireEnrolled(directory, rotation.device);
    const role = roleOf(device, signedBy);
    if (isDone(device, rotation) && role !== 'device') {
      nonces.use(rotation.nonce);
      return answerFor(device, this.options);
    }
    this.checkRights(device, role, rotation);
    const { key, firstBoot, cause } = rotation;
    const until = cause === 'compromise' ? now() : now() + rotationGraceDays * DAY_MS;
    checkFirstBoot(device, firstBoot, this.options.highestBoot(device.deviceId));
    checkHistory(device, until, now());
    this.takeTurn(device.deviceId, role);
    nonces.use(rotation.nonce);
    const rotated = await directory.record({
      action: 'rotate',
      subject: device.deviceId,
      key,
      firstBoot,
      until,
      cause,
      ...credentialLife(this.options),
      request,
    });
    disconnect(device.deviceId);
    return answerFor(rotated, this.options);
  }

  /** A key that was one device's is remembered for ever: without a limit a thief and an owner fill the registry. */
  private takeTurn(deviceId: string, role: Role): void {
    const waitMs = this.options.rotationLimit.take(`${deviceId} ${role}`);
    if (waitMs === 0) return;
    throw new BrokerError(
      'ERR_ROTATION_RATE',
      `device ${deviceId}: its ${role} has replaced its key too often, wait ${Math.ceil(waitMs / 1000)} s`,
      { retryAfterMs: waitMs },
    );
  }

  private checkRights(device: Device, role: Role, { key, cause }: Rotation): void {
    const { directory, now } = this.options;
    const { deviceId } = device;
    if (role === 'replaced') {
      throw new BrokerError('ERR_KEY_RETIRED', `device ${deviceId}: its key was replaced`);
    }
    // Whoever has stolen the key must not make worthless what the device still holds.
    if (role === 'device' && cause === 'compromise') {
      throw new BrokerError('ERR_REQUEST', 'cause: compromise is for the owner to say');
    }
    if (role === 'device' && isSuspended(device, now())) {
      throw new BrokerError('ERR_SUSPENDED', `device ${deviceId}: suspended`);
    }
    if (directory.deviceOf(deviceIdFromPublicKey(key)) !== null) {
      throw new BrokerError('ERR_KEY_IN_USE', 'key: is or was that of a device');
    }
  }
}

/** Who may sign for a device. */
function keysByRole(device: Device): ReadonlyMap<Role, Uint8Array> {
  const keys = new Map<Role, Uint8Array>([
    ['owner', publicKeyFromDidKey(device.owner)],
    ['device', device.publicKey],
  ]);
  const replaced = device.retired[0];
  if (replaced !== undefined) keys.set('replaced', replaced.publicKey);
  return keys;
}

/** Of the device as it is now: another request may have come before. */
function roleOf(device: Device, signedBy: Uint8Array): Role {
  for (const [role, key] of keysByRole(device)) if (equalBytes(key, signedBy)) return role;
  throw new BrokerError('ERR_KEY_RETIRED', `device ${device.deviceId}: the signing key has no say`);
}

/** Section 7.6: whoever got no answer asks again. */
function isDone(device: Device, { key, firstBoot }: Rotation): boolean {
  return equalBytes(device.publicKey, key) && device.firstBoot === firstBoot;
}
