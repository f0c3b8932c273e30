/** Enrolment, renewal of credentials, and spare parts that take a device's place. docs/spec/identity.md section 5. */

import { equalBytes, fromHex } from '@fieldproof/protocol/bytes';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { isSuspended } from '@fieldproof/protocol/registry-device';
import { type Enrolment, openEnrolment } from '@fieldproof/protocol/statements';
import { BrokerError } from '../errors.ts';
import {
  answerFor,
  checkRequestLength,
  credentialLife,
  DAY_MS,
  type DeskOptions,
  requireEnrolled,
} from './desk.ts';
import { checkAgent, checkCell, checkLabel, isAgent } from './device-fields.ts';
import { checkHistory, firstBootOfSwap } from './key-rules.ts';
import type { Device, Token } from './registry.ts';

export class EnrolmentDesk {
  private readonly options: DeskOptions;

  constructor(options: DeskOptions) {
    this.options = options;
  }

  /**
   * Answers a request, a COSE_Sign1 by the device key.
   *
   * @returns the encoded answer.
   * @throws {ProtocolError} when it is malformed or a signature does not verify.
   * @throws {BrokerError} ERR_NONCE_INVALID, ERR_TOKEN_INVALID, ERR_DEVICE_OWNED, ERR_DEVICE_UNKNOWN,
   * ERR_KEY_RETIRED, ERR_FIRST_BOOT, ERR_TOO_MANY_KEYS, ERR_SUSPENDED, ERR_LOG_FULL.
   */
  async enrol(request: Uint8Array): Promise<Uint8Array> {
    const { network, nonces, directory } = this.options;
    checkRequestLength(request);
    const { enrolment, device } = openEnrolment(request, {
      network,
      verify,
      deviceOf: (keyId) => directory.deviceOf(keyId)?.deviceId ?? keyId,
    });
    nonces.check(enrolment.nonce);
    const wasEnrolled = isEnrolled(directory.get(device));
    const place = wasEnrolled ? null : await this.placeOffered(enrolment);
    const keyId = deviceIdFromPublicKey(enrolment.key);
    const names = new Set([keyId, device, ...(place === null ? [] : [place.device])]);
    const answer = await directory.inTurn([...names], async () => {
      // Meanwhile the key may have become a device's, and the device may have come or gone.
      const isSame = (directory.deviceOf(keyId)?.deviceId ?? keyId) === device;
      const isStill = isSame && isEnrolled(directory.get(device)) === wasEnrolled;
      return isStill ? this.enrolInTurn(device, enrolment, place) : null;
    });
    return answer ?? this.enrol(request);
  }

  /**
   * Takes a device out of the network: nothing of it is taken, and enrolling it again needs a token.
   *
   * @throws {BrokerError} ERR_DEVICE_UNKNOWN, ERR_LOG_FULL.
   */
  async unenrol(deviceId: string, reason: string): Promise<Device> {
    const { directory, disconnect, clearState } = this.options;
    return directory.inTurn(deviceId, async () => {
      requireEnrolled(directory, deviceId);
      const device = await directory.record({ action: 'unenrol', subject: deviceId, reason });
      clearState(deviceId);
      disconnect(deviceId);
      return device;
    });
  }

  /** The token of a newcomer, when it is for the place of another device. */
  private async placeOffered({ token }: Enrolment): Promise<Token | null> {
    if (token === null) return null;
    const found = await this.options.registry.token(token);
    return found === null || found.device === '' ? null : found;
  }

  private async enrolInTurn(
    deviceId: string,
    enrolment: Enrolment,
    place: Token | null,
  ): Promise<Uint8Array> {
    const { directory, nonces } = this.options;
    nonces.check(enrolment.nonce);
    const known = directory.get(deviceId);
    if (known !== null && !equalBytes(known.publicKey, enrolment.key)) {
      throw new BrokerError('ERR_KEY_RETIRED', `device ${deviceId}: this key of it was replaced`);
    }
    if (isEnrolled(known)) return this.answer(this.renew(known, enrolment));
    if (place === null) return this.answer(this.enter(deviceId, enrolment));
    if (known === null) return this.answer(this.swap(place, enrolment));
    throw new BrokerError('ERR_KEY_IN_USE', `device ${deviceId}: was one of its own`);
  }

  private async answer(recorded: Promise<Device>): Promise<Uint8Array> {
    return answerFor(await recorded, this.options);
  }

  /** Of a device that is enrolled: a fresh credential. */
  private async renew(known: Device, enrolment: Enrolment): Promise<Device> {
    const { directory, nonces, now } = this.options;
    const { deviceId } = known;
    const isOwner = known.owner === enrolment.owner;
    // A device need not know yet that it has changed hands.
    if (!isOwner && !known.formerOwners.includes(enrolment.owner)) {
      throw new BrokerError('ERR_DEVICE_OWNED', `device ${deviceId}: enrolled by another owner`);
    }
    this.refuseSuspended(known, now());
    nonces.use(enrolment.nonce);
    return directory.record({
      action: 'credential',
      subject: deviceId,
      key: enrolment.key,
      owner: known.owner,
      // Name and place are the operator’s to change: a renewal does not undo it.
      name: known.name,
      group: known.group,
      cell: known.cell,
      streams: known.streams,
      ...credentialLife(this.options),
      // A device is not kept out for what it says of its program now.
      agent: isAgent(enrolment.agent) ? enrolment.agent : known.agent,
      ...(isOwner && { ownership: enrolment.ownership }),
    });
  }

  /** Of a newcomer, or one that was unenrolled: a token is used. */
  private async enter(deviceId: string, enrolment: Enrolment): Promise<Device> {
    const { directory, nonces, newcomers } = this.options;
    if (enrolment.token === null) {
      throw new BrokerError(
        'ERR_DEVICE_UNKNOWN',
        `device ${deviceId}: not enrolled, token is null`,
      );
    }
    // Before a use of the token is taken: all of them get into the log and before people's eyes.
    const ownName = checkLabel('name', enrolment.name);
    const agent = checkAgent(enrolment.agent ?? '');
    const ownCell = enrolment.cell === undefined ? undefined : checkCell(enrolment.cell);
    return this.spend(enrolment.token, (token) => {
      // Not before: whoever has neither a device nor a token must not fill the set of used ones.
      nonces.use(enrolment.nonce);
      return newcomers.enter(deviceId, token, () =>
        directory.record({
          action: 'enrol',
          subject: deviceId,
          key: enrolment.key,
          owner: enrolment.owner,
          name: token.name || ownName,
          group: token.group,
          cell: ownCell ?? token.cell,
          streams: [],
          ...credentialLife(this.options),
          agent,
          ownership: enrolment.ownership,
          token: fromHex(token.hash),
        }),
      );
    });
  }

  /** Of a spare part: the device that its token names goes on with the new key. Section 5.7. */
  private async swap(place: Token, enrolment: Enrolment): Promise<Device> {
    const { directory, nonces, disconnect, highestBoot, now } = this.options;
    const device = requireEnrolled(directory, place.device);
    const { deviceId } = device;
    if (device.owner !== enrolment.owner) {
      throw new BrokerError('ERR_DEVICE_OWNED', `device ${deviceId}: has another owner`);
    }
    this.refuseSuspended(device, now());
    const firstBoot = firstBootOfSwap(device, highestBoot(deviceId));
    const graceMs = place.compromised ? 0 : this.options.rotationGraceDays * DAY_MS;
    const until = now() + graceMs;
    checkHistory(device, until, now());
    const swapped = await this.spend(enrolment.token!, (token) => {
      nonces.use(enrolment.nonce);
      return directory.record({
        action: 'rotate',
        subject: deviceId,
        key: enrolment.key,
        firstBoot,
        until,
        cause: 'swap',
        ...credentialLife(this.options),
        request: enrolment.ownership,
        token: fromHex(token.hash),
      });
    });
    disconnect(deviceId);
    return swapped;
  }

  /** Takes a use of a token for what is recorded with it, and gives it back when that is certainly not in the log. */
  private async spend(
    secret: Uint8Array,
    record: (token: Token) => Promise<Device>,
  ): Promise<Device> {
    const { registry, tokens, now } = this.options;
    await tokens.requireDatabase();
    const token = await registry.useToken(secret, now());
    try {
      return await record(token);
    } catch (error) {
      if (isUnrecorded(error)) await registry.giveBack(token.hash);
      throw error;
    }
  }

  private refuseSuspended(device: Device, at: number): void {
    if (!isSuspended(device, at)) return;
    throw new BrokerError('ERR_SUSPENDED', `device ${device.deviceId}: suspended`);
  }
}

/** The log has refused it, or it did not get as far. Whatever else went wrong, the entry may be there. */
function isUnrecorded(error: unknown): boolean {
  return (
    error instanceof BrokerError &&
    (error.code === 'ERR_LOG_FULL' || error.code === 'ERR_NONCE_INVALID')
  );
}

function isEnrolled(device: Device | null): device is Device {
  return device !== null && device.status !== 'unenrolled';
}
