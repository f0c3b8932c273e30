/**
 * What a device reports of desired states: its `config-…` events, and what its births say. docs/spec/remote-config.md
 * sections 3 and 4. Readers take what fits and leave the rest: a report that cannot be read is none.
 */

import type { CborValue } from './cbor.ts';
import { CONFIG_ID_BYTES } from './desired-state.ts';
import type { Birth, DeviceEvent } from './messages.ts';
import { cutText } from './well-formed.ts';

export const CONFIG_OUTCOMES = ['applied', 'refused', 'rolled-back', 'expired'] as const;
export type ConfigOutcome = (typeof CONFIG_OUTCOMES)[number];

/** Reasons in one report, and characters of each: an event is a small message. */
export const MAX_REASONS = 16;
export const MAX_REASON_LENGTH = 200;

export interface ConfigReport {
  readonly outcome: ConfigOutcome;
  /** Absent where a refused message has none that can be read. */
  readonly id?: Uint8Array;
  readonly version?: number;
  /** SHA-256 of the payload that this is about. */
  readonly digest: Uint8Array;
  /** Of `refused` and `rolled-back`: ERR_CONFIG_…. */
  readonly code?: string;
  readonly reasons: readonly string[];
  /** Reasons that did not fit. */
  readonly more: number;
  /** Newest version that the device has judged. */
  readonly newest: number;
  /** Version in force after this; 0: the device is as its owner has it. */
  readonly inForce: number;
}

/** What a birth says of the state in force. */
export interface BirthConfig {
  /** Whether the owner takes desired states. */
  readonly allow: boolean;
  readonly newest: number;
  /** 0 for none. */
  readonly inForce: number;
  /** Of the state in force. */
  readonly digest?: Uint8Array;
}

/** Name and detail of the event that reports this; reasons beyond the limits are cut and counted. */
export function configEventOf(report: Omit<ConfigReport, 'more'>): {
  readonly event: string;
  readonly detail: Readonly<Record<string, CborValue>>;
} {
  const { outcome, id, version, digest, code, reasons, newest, inForce } = report;
  const more = Math.max(0, reasons.length - MAX_REASONS);
  return {
    event: `config-${outcome}`,
    detail: {
      ...{ digest, newest, inForce },
      ...(id === undefined ? {} : { id }),
      ...(version === undefined ? {} : { version }),
      ...(code === undefined ? {} : { code }),
      ...(reasons.length === 0 ? {} : { reasons: reasons.slice(0, MAX_REASONS).map(cut) }),
      ...(more === 0 ? {} : { more }),
    },
  };
}

/** The report in an event, or undefined when it is none. */
export function configReportOf({ event, detail }: DeviceEvent): ConfigReport | undefined {
  const outcome = CONFIG_OUTCOMES.find((each) => event === `config-${each}`);
  if (outcome === undefined || detail === undefined) return undefined;
  const get = (key: string): CborValue | undefined =>
    Object.hasOwn(detail, key) ? detail[key] : undefined;
  const [id, version, digest, code] = [get('id'), get('version'), get('digest'), get('code')];
  if (!isBytes(digest, 32)) return undefined;
  const reasons = get('reasons');
  const texts = (Array.isArray(reasons) ? reasons : []).filter((each) => typeof each === 'string');
  return {
    ...{ outcome, digest },
    ...(isBytes(id, CONFIG_ID_BYTES) ? { id } : {}),
    ...(isUint(version) ? { version } : {}),
    ...(typeof code === 'string' && /^[A-Z0-9_]{1,64}$/.test(code) ? { code } : {}),
    reasons: texts.slice(0, MAX_REASONS).map(cut),
    more: uintOr0(get('more')) + Math.max(0, texts.length - MAX_REASONS),
    newest: uintOr0(get('newest')),
    inForce: uintOr0(get('inForce')),
  };
}

/** What a birth says, or undefined for a device that knows no desired states. */
export function configOfBirth({
  capabilities,
}: Pick<Birth, 'capabilities'>): BirthConfig | undefined {
  const config = Object.hasOwn(capabilities, 'config') ? capabilities.config : undefined;
  if (!(config instanceof Map)) return undefined;
  const digest = config.get('digest');
  return {
    allow: config.get('allow') === true,
    newest: uintOr0(config.get('newest')),
    inForce: uintOr0(config.get('inForce')),
    ...(isBytes(digest, 32) ? { digest } : {}),
  };
}

function cut(text: string): string {
  return cutText(text, MAX_REASON_LENGTH);
}

function isBytes(value: CborValue | undefined, length: number): value is Uint8Array {
  return value instanceof Uint8Array && value.length === length;
}

function isUint(value: CborValue | undefined): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function uintOr0(value: CborValue | undefined): number {
  return isUint(value) ? value : 0;
}
