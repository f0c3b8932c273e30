/** What the desks share that answer requests of devices and owners: enrolment, rotation, transfer. */

import type { Signer } from '@fieldproof/protocol/envelope';
import { encodeEnrolmentAnswer, sealCredential } from '@fieldproof/protocol/statements';
import { BrokerError } from '../errors.ts';
import type { Nonces } from '../nonces.ts';
import type { Directory } from './directory.ts';
import type { Newcomers } from './newcomers.ts';
import type { Device, Registry } from './registry.ts';
import type { TokenDesk } from './token-desk.ts';

export const DAY_MS = 86_400_000;

/** Longest request: the log keeps it whole. */
const MAX_REQUEST_BYTES = 4096;

export interface DeskOptions {
  readonly network: string;
  readonly signer: Signer;
  readonly registry: Registry;
  readonly directory: Directory;
  readonly tokens: Pick<TokenDesk, 'requireDatabase'>;
  readonly nonces: Nonces;
  readonly credentialDays: number;
  /** How long what a replaced key has signed is taken. */
  readonly rotationGraceDays: number;
  /** The highest boot counter of a device that is recorded; −1 when there is none. */
  readonly highestBoot: (deviceId: string) => number;
  /** Ends the session of a device. */
  readonly disconnect: (deviceId: string) => void;
  /** Takes back what is published of whether a device is online. */
  readonly clearState: (deviceId: string) => void;
  readonly newcomers: Pick<Newcomers, 'enter'>;
  readonly descriptor: () => Uint8Array;
  /** Certificate of the network CA, PEM, or null without TLS. */
  readonly caPem: () => string | null;
  readonly now: () => number;
}

/** The answer to an enrolment or rotation: the device's credential, descriptor and CA. identity.md section 5.3. */
export function answerFor(
  device: Device,
  { network, signer, descriptor, caPem }: DeskOptions,
): Uint8Array {
  const { deviceId, publicKey, firstBoot, owner, name, group, cell, streams } = device;
  const credential = sealCredential(
    {
      device: deviceId,
      key: publicKey,
      owner,
      name,
      group,
      cell,
      streams,
      issued: device.credentialIssued,
      expires: device.credentialExpires,
      ...(firstBoot > 0 && { firstBoot }),
    },
    { network, signer },
  );
  const pem = caPem();
  const ca = pem === null ? null : new TextEncoder().encode(pem);
  return encodeEnrolmentAnswer({ credential, descriptor: descriptor(), ca });
}

/** When a credential that is issued now begins and ends. */
export function credentialLife({ now, credentialDays }: DeskOptions): {
  readonly issued: number;
  readonly expires: number;
} {
  const issued = now();
  return { issued, expires: issued + credentialDays * DAY_MS };
}

/** @throws {BrokerError} ERR_DEVICE_UNKNOWN. */
export function requireEnrolled(directory: Directory, deviceId: string): Device {
  const device = directory.get(deviceId);
  if (device !== null && device.status !== 'unenrolled') return device;
  throw new BrokerError('ERR_DEVICE_UNKNOWN', `device ${deviceId}: not enrolled`);
}

/** @throws {BrokerError} ERR_REQUEST. */
export function checkRequestLength(request: Uint8Array): void {
  if (request.length <= MAX_REQUEST_BYTES) return;
  throw new BrokerError(
    'ERR_REQUEST',
    `body: expected at most ${MAX_REQUEST_BYTES} bytes, got ${request.length}`,
  );
}
