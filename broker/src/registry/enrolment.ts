/** Enrolment and renewal of credentials. docs/spec/identity.md section 5. */

import { verify } from '@fieldproof/protocol/ed25519-node';
import type { Signer } from '@fieldproof/protocol/envelope';
import { isSuspended } from '@fieldproof/protocol/registry-device';
import {
  type Enrolment,
  encodeEnrolmentAnswer,
  openEnrolment,
  sealCredential,
} from '@fieldproof/protocol/statements';
import { BrokerError } from '../errors.ts';
import type { Nonces } from '../nonces.ts';
import type { Directory } from './directory.ts';
import type { Device, Registry } from './registry.ts';

const DAY_MS = 86_400_000;

export interface EnrolmentOptions {
  readonly network: string;
  readonly signer: Signer;
  readonly registry: Registry;
  readonly directory: Directory;
  readonly nonces: Nonces;
  readonly credentialDays: number;
  readonly descriptor: () => Uint8Array;
  /** Certificate of the network CA, PEM, or null without TLS. */
  readonly caPem: () => string | null;
  readonly now: () => number;
}

export class EnrolmentDesk {
  private readonly options: EnrolmentOptions;
  /** One request of a device at a time: what is checked must still hold when it is logged. */
  private readonly busy = new Map<string, Promise<unknown>>();

  constructor(options: EnrolmentOptions) {
    this.options = options;
  }

  /**
   * Answers a request, a COSE_Sign1 by the device key.
   *
   * @returns the encoded answer.
   * @throws {ProtocolError} when it is malformed or a signature does not verify.
   * @throws {BrokerError} ERR_NONCE_INVALID, ERR_TOKEN_INVALID, ERR_DEVICE_OWNED, ERR_DEVICE_UNKNOWN,
   * ERR_SUSPENDED, ERR_LOG_FULL.
   */
  async enrol(request: Uint8Array): Promise<Uint8Array> {
    const { network, nonces } = this.options;
    const { enrolment, device } = openEnrolment(request, { network, verify });
    nonces.check(enrolment.nonce);
    const before = this.busy.get(device) ?? Promise.resolve();
    const turn = before.catch(() => {}).then(() => this.enrolInTurn(device, enrolment));
    this.busy.set(device, turn);
    try {
      return await turn;
    } finally {
      if (this.busy.get(device) === turn) this.busy.delete(device);
    }
  }

  private async enrolInTurn(device: string, enrolment: Enrolment): Promise<Uint8Array> {
    const { directory, nonces, now, credentialDays } = this.options;
    nonces.check(enrolment.nonce);
    const known = directory.get(device);
    if (known !== null && known.owner !== enrolment.owner) {
      throw new BrokerError('ERR_DEVICE_OWNED', `device ${device}: enrolled by another owner`);
    }
    if (known !== null && isSuspended(known, now())) {
      throw new BrokerError('ERR_SUSPENDED', `device ${device}: suspended`);
    }
    const place = await this.placeOf(device, { known, enrolment });
    // Not before: whoever has neither a device nor a token must not fill the set of used ones.
    nonces.use(enrolment.nonce);
    const issued = now();
    const recorded = await directory.record({
      action: known === null ? 'enrol' : 'credential',
      subject: device,
      key: enrolment.key,
      owner: enrolment.owner,
      // Renaming is the operator’s: a renewal does not undo it.
      name: known?.name ?? enrolment.name,
      ...place,
      streams: known?.streams ?? [],
      issued,
      expires: issued + credentialDays * DAY_MS,
      agent: enrolment.agent ?? known?.agent ?? '',
      ownership: enrolment.ownership,
    });
    return this.answer(recorded);
  }

  /** Group and cell: kept when known, else from the token, which is used once. */
  private async placeOf(
    device: string,
    context: { readonly known: Device | null; readonly enrolment: Enrolment },
  ): Promise<{ readonly group: string; readonly cell: string }> {
    const { known, enrolment } = context;
    // A place is the operator’s to change: a renewal does not undo it either.
    if (known !== null) return { group: known.group, cell: known.cell };
    if (enrolment.token === null) {
      throw new BrokerError('ERR_DEVICE_UNKNOWN', `device ${device}: not enrolled, token is null`);
    }
    const token = await this.options.registry.useToken(enrolment.token, this.options.now());
    return { group: token.group, cell: enrolment.cell ?? token.cell };
  }

  private answer(device: Device): Uint8Array {
    const { network, signer, descriptor, caPem } = this.options;
    const { deviceId, publicKey, owner, name, group, cell, streams } = device;
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
      },
      { network, signer },
    );
    const pem = caPem();
    const ca = pem === null ? null : new TextEncoder().encode(pem);
    return encodeEnrolmentAnswer({ credential, descriptor: descriptor(), ca });
  }
}
