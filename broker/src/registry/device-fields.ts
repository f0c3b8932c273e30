/** What may be written about a device, checked where it enters. docs/spec/registry.md section 5. Pure. */

import { isH3Cell } from '@fieldproof/protocol/h3-cell';
import { MAX_STREAMS } from '@fieldproof/protocol/registry-actions';
import type { Stream } from '@fieldproof/protocol/registry-device';
import { BrokerError } from '../errors.ts';
import { isPlainLine, isPlainText } from '../plain-text.ts';

/** Longest text of a site and of notes, in UTF-16 units. */
export const MAX_TEXT = 4096;

const MAX_LABEL = 64;
const MAX_REASON = 256;
/** What a device says of its program. docs/spec/identity.md 5.1. */
const MAX_AGENT = 128;
const KIND = /^[A-Za-z][A-Za-z0-9._-]{0,31}$/;
/** docs/spec/telemetry.md 1.1, 1.2. */
const METRIC = /^(?:[a-z][a-z0-9_-]{0,31}\/)?[A-Za-z0-9][A-Za-z0-9:._/-]{0,63}$/;
const STREAM_KEYS: readonly string[] = ['metric', 'cadenceMs', 'resolution'];
const ONE_LINE = 'without control characters and changes of direction';

/** A name or group. @throws {BrokerError} ERR_REQUEST, as all functions here. */
export function checkLabel(key: 'name' | 'group', value: unknown): string {
  if (isText(value, MAX_LABEL) && isPlainLine(value) && value.trim() !== '') return value;
  throw refused(key, `1 to ${MAX_LABEL} characters, not all of them spaces, ${ONE_LINE}`);
}

/** The program of a device and its version; may be empty. */
export function checkAgent(value: unknown): string {
  if (isAgent(value)) return value;
  throw refused('agent', `at most ${MAX_AGENT} characters ${ONE_LINE}`);
}

export function isAgent(value: unknown): value is string {
  return isText(value, MAX_AGENT) && isPlainLine(value);
}

/** What an owner says in an appeal, of a form that the protocol takes: it is shown to operators. */
export function checkAppealText(value: string): void {
  if (isPlainText(value) && value.trim() !== '') return;
  throw refused('text', 'a text without changes of direction');
}

/** The index of an H3 cell, or empty. */
export function checkCell(value: unknown): string {
  if (value === '' || (typeof value === 'string' && isH3Cell(value))) return value;
  throw refused('cell', 'the index of an H3 cell, 15 lower-case hex digits, or empty');
}

/** Why something is done to a device: it is logged. */
export function checkReason(value: unknown): string {
  if (isText(value, MAX_REASON) && isPlainLine(value) && value.trim() !== '') return value;
  throw refused('reason', `1 to ${MAX_REASON} characters, not all of them spaces, ${ONE_LINE}`);
}

/** What a suspension is for: `operator`, a code, or a word. docs/spec/registry.md 4.1. */
export function checkKind(value: unknown): string {
  if (isText(value, 32) && KIND.test(value)) return value;
  throw refused('kind', 'operator, an error code or a word of at most 32 letters, digits, . _ -');
}

/** A text about a device; null for none. */
export function checkText(value: unknown): string | null {
  if (value === null || value === '') return null;
  if (isText(value, MAX_TEXT) && isPlainText(value)) return value;
  throw refused(
    'text',
    `at most ${MAX_TEXT} characters, of control characters line feed and tab, and no changes of direction`,
  );
}

/** Wanted series, each metric once. */
export function checkStreams(value: unknown): readonly Stream[] {
  if (!Array.isArray(value) || value.length > MAX_STREAMS) {
    throw refused('streams', `an array of at most ${MAX_STREAMS}`);
  }
  const streams = value.map((item, i) => checkStream(item, `streams[${i}]`));
  const metrics = new Set(streams.map(({ metric }) => metric));
  if (metrics.size < streams.length) throw refused('streams', 'each metric once');
  return streams;
}

function checkStream(item: unknown, at: string): Stream {
  if (typeof item !== 'object' || item === null) {
    throw refused(at, 'an object with metric, cadenceMs and resolution');
  }
  const others = Object.keys(item).some((key) => !STREAM_KEYS.includes(key));
  if (others) throw refused(at, `only ${STREAM_KEYS.join(', ')}`);
  const { metric, cadenceMs, resolution } = item as Readonly<Record<string, unknown>>;
  if (!isText(metric, 128) || !METRIC.test(metric)) {
    throw refused(`${at}.metric`, 'a name such as air/temperature');
  }
  if (!Number.isSafeInteger(cadenceMs) || (cadenceMs as number) < 1) {
    throw refused(`${at}.cadenceMs`, 'an integer from 1');
  }
  if (!Number.isFinite(resolution) || (resolution as number) < 0) {
    throw refused(`${at}.resolution`, 'a number from 0');
  }
  return { metric, cadenceMs: cadenceMs as number, resolution: resolution as number };
}

/** Well-formed, since it is written as UTF-8. */
function isText(value: unknown, max: number): value is string {
  return typeof value === 'string' && value.length <= max && !/\p{Cs}/u.test(value);
}

function refused(key: string, expected: string): BrokerError {
  return new BrokerError('ERR_REQUEST', `${key}: expected ${expected}`);
}
