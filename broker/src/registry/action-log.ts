/** `registry` entries about tokens: signed, and durable before anything else happens. docs/spec/registry.md section 1. */

import type { Signer } from '@fieldproof/protocol/envelope';
import { type RegistryAction, sealRegistryAction } from '@fieldproof/protocol/registry-actions';
import type { Evidence } from '../gate/evidence.ts';

export interface ActionLogOptions {
  readonly network: string;
  /** Role key `registry`, for entries. */
  readonly signer: Signer;
  readonly evidence: Pick<Evidence, 'append'>;
  readonly now: () => number;
}

/**
 * Appends the entry of an action.
 *
 * @returns where and when, once it is durable.
 * @throws {BrokerError} ERR_LOG_FULL.
 */
export async function logAction(
  action: RegistryAction,
  { network, signer, evidence, now }: ActionLogOptions,
): Promise<{ readonly at: number; readonly index: number }> {
  const at = now();
  // Signed and appended in one turn: the entry is under the key that is in force at its index.
  const statement = sealRegistryAction(action, { network, signer });
  const { subject } = action;
  const entry = { type: 'registry' as const, at, action: action.action, subject, statement };
  const { index } = await evidence.append(entry);
  return { at, index };
}
