/**
 * The statements in `registry` entries of the evidence log, and what they make of a device. Pure, so that a start
 * applies what a crash left out as the running broker would have. docs/spec/evidence-log.md section 1.
 */

import { decode } from '@fieldproof/protocol/cbor';
import {
  CONTENT_TYPES,
  parseEnvelope,
  type Signer,
  seal,
  statementAad,
} from '@fieldproof/protocol/envelope';
import { array, bytes, finite, optional, record, text, uint } from '@fieldproof/protocol/fields';
import { encodeMessage } from '@fieldproof/protocol/messages';
import type { Credential } from '@fieldproof/protocol/statements';
import type { Device } from './registry.ts';

export type RegistryAction =
  | ({
      readonly action: 'enrol' | 'credential';
      readonly subject: string;
      readonly agent: string;
    } & Omit<Credential, 'device'>)
  | { readonly action: 'suspend'; readonly subject: string; readonly reason: string }
  | { readonly action: 'resume'; readonly subject: string }
  | { readonly action: 'rename'; readonly subject: string; readonly name: string };

const head = record({ action: text(32), subject: text(64) });
const credential = record({
  key: bytes(32),
  owner: text(64),
  name: text(64),
  group: text(64),
  cell: text(32),
  streams: array(record({ metric: text(128), cadenceMs: uint(), resolution: finite }), 256),
  issued: uint(),
  expires: uint(),
  agent: optional(text(128)),
});
const rename = record({ name: text(64) });

/** Signs the statement of an action with the `registry` key. */
export function sealStatement(
  action: RegistryAction,
  context: { readonly network: string; readonly signer: Signer },
): Uint8Array {
  return seal({
    contentType: CONTENT_TYPES.cbor,
    payload: encodeMessage(action),
    externalAad: statementAad(context.network, 'registry'),
    signer: context.signer,
  });
}

/**
 * What a device is after an entry.
 *
 * @param statement - from our own log: its signature is not looked at again.
 * @returns null when the action is of a later version or about a device that is not there.
 */
export function applyStatement(
  before: Device | null,
  statement: Uint8Array,
  entry: { readonly at: number; readonly index: number },
): Device | null {
  const payload = decode(parseEnvelope(statement).payload);
  const { action, subject } = head(payload, '');
  if (action === 'enrol' || action === 'credential') {
    const fields = credential(payload, '');
    return {
      deviceId: subject,
      publicKey: Uint8Array.from(fields.key),
      owner: fields.owner,
      name: fields.name,
      group: fields.group,
      cell: fields.cell,
      streams: fields.streams,
      status: before?.status ?? 'active',
      agent: fields.agent ?? '',
      enrolledAt: before?.enrolledAt ?? entry.at,
      credentialIssued: fields.issued,
      credentialExpires: fields.expires,
      logIndex: entry.index,
    };
  }
  if (before === null) return null;
  const after = { ...before, logIndex: entry.index };
  if (action === 'suspend') return { ...after, status: 'suspended' };
  if (action === 'resume') return { ...after, status: 'active' };
  if (action === 'rename') return { ...after, name: rename(payload, '').name };
  return null;
}
