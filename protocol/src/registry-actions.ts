/**
 * The statements in `registry` entries of the evidence log: what may be said, and its form. docs/spec/registry.md.
 * What they make of a device is in `registry-device.ts`.
 */

import { type CborValue, decode } from './cbor.ts';
import {
  CONTENT_TYPES,
  open,
  parseEnvelope,
  type Signer,
  seal,
  statementAad,
  type Verify,
} from './envelope.ts';
import { ProtocolError } from './errors.ts';
import {
  array,
  bool,
  bytes,
  type Decoded,
  type Decoder,
  nullable,
  optional,
  record,
  text,
  tuple,
  uint,
} from './fields.ts';
import { encodeMessage } from './messages.ts';
import { stream } from './statements.ts';

/** Most streams of a device, scopes of a token and entries that a suspension names. */
export const MAX_STREAMS = 256;
export const MAX_SCOPES = 16;
export const MAX_SUSPENSION_EVIDENCE = 64;

const key = bytes(32);
const hash = bytes(32);
const did = text(64);
const boot = tuple<readonly [number, Uint8Array]>(uint(0xffff_ffff), bytes(4));
const signed = bytes({ max: 8192 });
const reason = text(256);
const streams = array(stream, MAX_STREAMS);

/** What `enrol` and `credential` say: the fields of the credential, and what led to it. Section 2.1. */
const credential = {
  key,
  owner: did,
  name: text(64),
  group: text(64),
  cell: text(32),
  streams,
  issued: uint(),
  expires: uint(),
  agent: optional(text(128)),
  ownership: optional(signed),
  token: optional(hash),
} as const;

/** The fields of each action beside `action` and `subject`. Section 2. */
const ACTIONS = {
  enrol: record(credential),
  credential: record(credential),
  rotate: record({
    key,
    firstBoot: uint(0xffff_ffff),
    until: uint(),
    cause: text(16),
    issued: uint(),
    expires: uint(),
    request: optional(signed),
    token: optional(hash),
  }),
  transfer: record({
    owner: did,
    ownership: signed,
    request: optional(signed),
    reason: optional(reason),
  }),
  unenrol: record({ reason }),
  suspend: record({
    reason,
    kind: optional(text(32)),
    evidence: optional(array(uint(), MAX_SUSPENSION_EVIDENCE)),
    until: optional(nullable(uint())),
    appealUntil: optional(uint()),
  }),
  resume: record({ reason: optional(reason) }),
  appeal: record({ suspension: uint(), statement: signed }),
  decision: record({ appeal: uint(), outcome: text(16), reason }),
  quarantine: record({ boot, against: boot }),
  release: record({ boot, reason: optional(reason) }),
  delegate: record({
    gateway: nullable(text(48)),
    issued: uint(),
    expires: nullable(uint()),
    statement: optional(signed),
    reason: optional(reason),
  }),
  rename: record({ name: text(64) }),
  site: record({ group: text(64), cell: text(32), text: nullable(hash) }),
  notes: record({ text: nullable(hash) }),
  streams: record({ streams }),
  token: record({
    uses: uint(),
    expires: uint(),
    group: text(64),
    cell: text(32),
    device: optional(text(48)),
    name: optional(text(64)),
    compromised: optional(bool),
    by: optional(hash),
  }),
  'token-revoke': record({}),
  access: record({
    scopes: array(text(32), MAX_SCOPES),
    expires: nullable(uint()),
    by: optional(hash),
  }),
  'access-revoke': record({}),
} as const satisfies Readonly<Record<string, Decoder<unknown>>>;

export type RegistryActionName = keyof typeof ACTIONS;

/** A statement of this version: an action, whom or what it is about, and its fields. */
export type RegistryAction = {
  readonly [A in RegistryActionName]: { readonly action: A; readonly subject: string } & Decoded<
    (typeof ACTIONS)[A]
  >;
}[RegistryActionName];

/** An action of the given name. */
export type ActionOf<A extends RegistryActionName> = Extract<
  RegistryAction,
  { readonly action: A }
>;

/** Of a later version: readers go on without it. Section 1.3. */
export interface UnknownAction {
  readonly action: 'unknown';
  readonly name: string;
  readonly subject: string;
}

const head = record({ action: text(32), subject: text(64) });

/** Signs the statement of an action with the `registry` key. */
export function sealRegistryAction(
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
 * Opens the statement of an entry under the `registry` key that was in force.
 *
 * @throws {ProtocolError} ERR_SIGNATURE_INVALID and the shapes' codes.
 */
export function openRegistryAction(
  statement: Uint8Array,
  context: { readonly network: string; readonly publicKey: Uint8Array; readonly verify: Verify },
): RegistryAction | UnknownAction {
  const { network, publicKey, verify } = context;
  const externalAad = statementAad(network, 'registry');
  return actionIn(open(statement, { publicKey, verify, externalAad }).payload);
}

/**
 * The action in a statement whose signature has been verified, or is one's own.
 *
 * @throws {ProtocolError} ERR_CBOR_…, ERR_COSE_…, ERR_MESSAGE_MALFORMED.
 */
export function readRegistryAction(statement: Uint8Array): RegistryAction | UnknownAction {
  return actionIn(parseEnvelope(statement).payload);
}

function actionIn(payload: Uint8Array): RegistryAction | UnknownAction {
  const body: CborValue = decode(payload);
  const { action, subject } = head(body, '');
  if (!Object.hasOwn(ACTIONS, action)) return { action: 'unknown', name: action, subject };
  const name = action as RegistryActionName;
  return { action: name, subject, ...ACTIONS[name](body, '') } as RegistryAction;
}

/** The boot seed of a pair in an action as a big-endian uint32. @throws {ProtocolError} ERR_ARGUMENT */
export function seedNumberOf(seed: Uint8Array): number {
  if (seed.length !== 4) throw new ProtocolError('ERR_ARGUMENT', 'boot seed: expected 4 bytes');
  return ((seed[0]! << 24) | (seed[1]! << 16) | (seed[2]! << 8) | seed[3]!) >>> 0;
}
