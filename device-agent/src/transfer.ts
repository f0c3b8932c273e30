/** A device changes hands: what its present owner sends to the network. docs/spec/identity.md section 8. */

import { sealTransfer } from '@fieldproof/protocol/transfer';
import { type ContactOptions, openMembership } from './contact.ts';
import { AgentError } from './errors.ts';
import type { Ownership } from './membership.ts';
import { ownerFromPhrase, saveOwnership } from './owner.ts';

export interface TransferOptions extends ContactOptions {
  /** Its id; by default that of the data folder's own device. */
  readonly device?: string | undefined;
  /** The words of the present owner. */
  readonly phrase: string;
  /** The new owner, and their statement about the device. */
  readonly to: Ownership;
}

/**
 * Gives a device to another owner, who has signed for it.
 *
 * @returns the id of the device.
 * @throws {AgentError} ERR_AGENT_OWNER for a malformed phrase, ERR_AGENT_TRANSFER_REFUSED, and as
 * `Membership.prepare`.
 */
export async function transferDevice(options: TransferOptions): Promise<string> {
  const { dataDir, phrase, to } = options;
  const signer = await ownerFromPhrase(phrase);
  const { membership, identity } = await openMembership(options);
  const own = membership.credential?.device ?? identity.deviceId;
  const device = options.device ?? own;
  const { nonce } = await membership.hello();
  const request = sealTransfer(
    { nonce, device, owner: to.owner, ownership: to.statement },
    { network: membership.network, signer },
  );
  const { status, problem } = await membership.ask('POST', '/v1/transfer', request);
  if (status < 200 || status > 299) {
    const { code = `HTTP ${status}`, detail = '' } = problem ?? {};
    throw new AgentError('ERR_AGENT_TRANSFER_REFUSED', `transfer: ${code} ${detail}`.trim());
  }
  // What its renewals say from the next start on.
  if (device === own) await saveOwnership(dataDir, to);
  return device;
}
