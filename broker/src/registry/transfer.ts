/** Another owner for a device, as both owners want, or as an operator says. docs/spec/identity.md section 8. */

import { equalBytes } from '@fieldproof/protocol/bytes';
import { publicKeyFromDidKey } from '@fieldproof/protocol/did-key';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { openOwnership } from '@fieldproof/protocol/statements';
import { openTransfer, type Transfer } from '@fieldproof/protocol/transfer';
import { BrokerError } from '../errors.ts';
import { checkRequestLength, type DeskOptions, requireEnrolled } from './desk.ts';
import type { Device } from './registry.ts';

export class TransferDesk {
  private readonly options: DeskOptions;

  constructor(options: DeskOptions) {
    this.options = options;
  }

  /**
   * Answers a request, a COSE_Sign1 by the present owner's key.
   *
   * @throws {ProtocolError} when it is malformed or a signature does not verify.
   * @throws {BrokerError} ERR_DEVICE_UNKNOWN, ERR_NONCE_INVALID, ERR_DEVICE_OWNED, ERR_LOG_FULL.
   */
  async transfer(request: Uint8Array): Promise<Device> {
    const { network, nonces, directory } = this.options;
    checkRequestLength(request);
    const { body, signedBy } = openTransfer(request, {
      network,
      verify,
      signers: (deviceId) => ownerKeys(requireEnrolled(directory, deviceId)),
    });
    nonces.check(body.nonce);
    return directory.inTurn(body.device, () => this.transferInTurn(body, { signedBy, request }));
  }

  /**
   * Gives a device to another owner without the present one, whose phrase is lost.
   *
   * @param owner - did:key of the new one, who signed `ownership`.
   * @throws {ProtocolError} when `ownership` is malformed, of somebody else or about another device.
   * @throws {BrokerError} ERR_DEVICE_UNKNOWN, ERR_LOG_FULL.
   */
  async transferByOperator(
    deviceId: string,
    {
      owner,
      ownership,
      reason,
    }: { readonly owner: string; readonly ownership: Uint8Array; readonly reason: string },
  ): Promise<Device> {
    const { network, directory } = this.options;
    openOwnership(ownership, { network, verify, owner, devices: [deviceId] });
    return directory.inTurn(deviceId, async () => {
      const device = requireEnrolled(directory, deviceId);
      if (device.owner === owner) return device;
      return directory.record({ action: 'transfer', subject: deviceId, owner, ownership, reason });
    });
  }

  private async transferInTurn(
    { device: deviceId, nonce, owner, ownership }: Transfer,
    { signedBy, request }: { readonly signedBy: Uint8Array; readonly request: Uint8Array },
  ): Promise<Device> {
    const { directory, nonces } = this.options;
    const device = requireEnrolled(directory, deviceId);
    // Section 8.2: whoever got no answer asks again.
    const isDone = device.owner === owner;
    const mayAsk = equalBytes(publicKeyFromDidKey(device.owner), signedBy);
    if (!isDone && !mayAsk) {
      throw new BrokerError('ERR_DEVICE_OWNED', `device ${deviceId}: has another owner by now`);
    }
    nonces.use(nonce);
    if (isDone) return device;
    return directory.record({ action: 'transfer', subject: deviceId, owner, ownership, request });
  }
}

/** The owner's, and that of the one before. */
function ownerKeys({ owner, formerOwners }: Device): readonly Uint8Array[] {
  return [owner, ...formerOwners.slice(0, 1)].map(publicKeyFromDidKey);
}
