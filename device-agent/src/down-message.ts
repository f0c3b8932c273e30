/**
 * Opens what came down: a signed envelope for this device, under the key of the role that may send its kind.
 * docs/spec/topics.md section 2, settlement.md 3 and 4.
 */

import { equalBytes } from '@fieldproof/protocol/bytes';
import { decode } from '@fieldproof/protocol/cbor';
import { kidOf } from '@fieldproof/protocol/ed25519';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { CONTENT_TYPES, downAad, open, parseEnvelope } from '@fieldproof/protocol/envelope';
import {
  decodeReceipt,
  decodeReject,
  type Receipt,
  type Reject,
} from '@fieldproof/protocol/settlement-messages';
import type { Descriptor } from '@fieldproof/protocol/statements';
import { parseTopic } from '@fieldproof/protocol/topics';
import { AgentError } from './errors.ts';

/** Kinds that this agent listens to. */
export const HEARD_KINDS = ['receipt', 'reject', 'task', 'config', 'statement'] as const;

export type DownMessage =
  /** `bytes`: the envelope as the log signed it. */
  | { readonly kind: 'receipt'; readonly receipt: Receipt; readonly bytes: Uint8Array }
  | { readonly kind: 'reject'; readonly reject: Reject }
  /** `bytes`: the envelope as the control process signed it. */
  | {
      readonly kind: 'config';
      readonly type: string;
      readonly payload: Uint8Array;
      readonly bytes: Uint8Array;
    }
  | { readonly kind: 'task' | 'statement'; readonly type: string };

/**
 * @param topic - the topic it came on; network and device must be ours.
 * @throws {ProtocolError} whatever is wrong with topic, signature or shape; AgentError for another's topic.
 */
export function openDownMessage(
  topic: string,
  bytes: Uint8Array,
  context: {
    readonly network: string;
    readonly deviceId: string;
    readonly keys: Descriptor['keys'];
  },
): DownMessage {
  const parsed = parseTopic(topic);
  const kind = HEARD_KINDS.find((each) => each === parsed.kind);
  const isOurs = parsed.network === context.network && parsed.deviceId === context.deviceId;
  if (kind === undefined || !isOurs) {
    throw new AgentError('ERR_AGENT_ANSWER_INVALID', `topic: expected one of ours, got ${topic}`);
  }
  const envelope = open(bytes, {
    externalAad: downAad(context.network, kind, context.deviceId),
    publicKey: context.keys[roleOf(kind)],
    verify,
  });
  if (envelope.contentType !== CONTENT_TYPES.cbor) {
    throw new AgentError('ERR_AGENT_ANSWER_INVALID', `${kind}: expected content type 60`);
  }
  if (kind === 'receipt') return { kind, receipt: decodeReceipt(envelope.payload), bytes };
  if (kind === 'reject') return { kind, reject: decodeReject(envelope.payload) };
  const message = decode(envelope.payload);
  const type = message instanceof Map ? message.get('type') : undefined;
  const name = typeof type === 'string' ? type.slice(0, 64) : '';
  if (kind === 'config') return { kind, type: name, payload: envelope.payload, bytes };
  return { kind, type: name };
}

/** Whether a message of ours says that it is under another key than the one that may send its kind. */
export function isUnderUnknownKey(
  topic: string,
  bytes: Uint8Array,
  { keys }: { readonly keys: Descriptor['keys'] },
): boolean {
  try {
    const kind = HEARD_KINDS.find((each) => each === parseTopic(topic).kind);
    if (kind === undefined) return false;
    return !equalBytes(parseEnvelope(bytes).kid, kidOf(keys[roleOf(kind)]));
  } catch {
    return false;
  }
}

function roleOf(kind: (typeof HEARD_KINDS)[number]): 'log' | 'control' {
  return kind === 'receipt' || kind === 'reject' ? 'log' : 'control';
}
