/** Topics and kinds. docs/spec/topics.md. */

import { ProtocolError } from './errors.ts';

/** Kinds that devices send, with their numbers in log entries. */
export const UP_KINDS = {
  birth: 1,
  telemetry: 2,
  result: 3,
  event: 4,
  gap: 5,
  relay: 6,
} as const;

/** Signed kinds that devices receive. */
export const DOWN_KINDS = [
  'receipt',
  'reject',
  'task',
  'config',
  'statement',
  'relay-down',
] as const;

export type UpKind = keyof typeof UP_KINDS;
export type DownKind = (typeof DOWN_KINDS)[number];

export interface Topic {
  readonly network: string;
  readonly deviceId: string;
  /** One of the kinds, `state`, `+` in a filter, or anything else that a sender made up. */
  readonly kind: string;
}

const NETWORK = /^[a-z0-9][a-z0-9-]{0,31}$/;
const DEVICE_ID = /^z6Mk[1-9A-HJ-NP-Za-km-z]{44}$/;
const KIND_NAMES = Object.keys(UP_KINDS) as readonly UpKind[];

export function isUpKind(kind: string): kind is UpKind {
  return Object.hasOwn(UP_KINDS, kind);
}

export function isDownKind(kind: string): kind is DownKind {
  return (DOWN_KINDS as readonly string[]).includes(kind);
}

/** The name of the kind with this number in log entries, or undefined. */
export function upKindFromNumber(number: number): UpKind | undefined {
  return KIND_NAMES[number - 1];
}

export function isNetworkId(value: string): boolean {
  return NETWORK.test(value);
}

/** Whether the text has the shape of a device id; the key in it is not checked. */
export function isDeviceIdText(value: string): boolean {
  return DEVICE_ID.test(value);
}

/** `fp/1/<network>/d/<deviceId>/<kind>`. */
export function formatTopic(topic: Topic): string {
  return `fp/1/${topic.network}/d/${topic.deviceId}/${topic.kind}`;
}

/**
 * Splits a topic name or filter of this protocol.
 *
 * @throws {ProtocolError} ERR_TOPIC_MALFORMED
 */
export function parseTopic(topic: string): Topic {
  const levels = topic.split('/');
  const [prefix, version, network, d, deviceId, kind] = levels;
  if (
    levels.length !== 6 ||
    prefix !== 'fp' ||
    version !== '1' ||
    d !== 'd' ||
    network === undefined ||
    deviceId === undefined ||
    kind === undefined ||
    kind === '' ||
    !NETWORK.test(network) ||
    !DEVICE_ID.test(deviceId)
  ) {
    throw new ProtocolError(
      'ERR_TOPIC_MALFORMED',
      `topic: expected fp/1/<network>/d/<deviceId>/<kind>, got ${JSON.stringify(topic.slice(0, 120))}`,
    );
  }
  return { network, deviceId, kind };
}
