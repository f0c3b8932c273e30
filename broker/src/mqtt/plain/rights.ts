/** What a client of the plain profile may publish and read. docs/spec/topics.md section 5. Pure. */

import { isDeviceIdText } from '@fieldproof/protocol/topics';
import { countLevels, matches } from './topic-tree.ts';

export interface PlainRights {
  readonly network: string;
  /** Filters that are refused, and with them the topics that they match. */
  readonly denied: readonly string[];
  readonly maxTopicLevels: number;
  readonly maxTopicBytes: number;
}

/** Why a topic or a filter is refused. */
export type Refusal = 'ERR_PLAIN_FORBIDDEN' | 'ERR_PLAIN_TOPIC';

/** What belongs to the network or to the broker: read-only, or nothing that a filter can mean. */
const RESERVED = ['fp', '$SYS', '$share'];

/** Judges the topic of a PUBLISH or a will. */
export function judgeTopic(topic: string, rights: PlainRights): Refusal | null {
  if (isReserved(topic)) return 'ERR_PLAIN_FORBIDDEN';
  return isTooLarge(topic, rights) ? 'ERR_PLAIN_TOPIC' : null;
}

/** Judges the filter of a SUBSCRIBE. */
export function judgeFilter(filter: string, rights: PlainRights): Refusal | null {
  if (isTooLarge(filter, rights)) return 'ERR_PLAIN_TOPIC';
  if (rights.denied.some((denied) => covers(denied, filter))) return 'ERR_PLAIN_FORBIDDEN';
  const [first] = filter.split('/', 1);
  if (first === '$share') return 'ERR_PLAIN_FORBIDDEN';
  if (first === 'fp' && !isStateFilter(filter, rights.network)) return 'ERR_PLAIN_FORBIDDEN';
  return null;
}

/** Whether a topic is to be delivered to whoever has subscribed to it. */
export function isReadable(topic: string, rights: PlainRights): boolean {
  return !rights.denied.some((denied) => matches(denied, topic));
}

function isReserved(topic: string): boolean {
  return RESERVED.some((name) => topic === name || topic.startsWith(`${name}/`));
}

function isTooLarge(text: string, { maxTopicLevels, maxTopicBytes }: PlainRights): boolean {
  if (text.length > maxTopicBytes || Buffer.byteLength(text) > maxTopicBytes) return true;
  return countLevels(text) > maxTopicLevels;
}

/** `fp/1/<network>/d/+/state`, or that of one device. */
function isStateFilter(filter: string, network: string): boolean {
  const [, version, name, d, device, kind, ...more] = filter.split('/');
  const isWhole = version === '1' && name === network && d === 'd' && kind === 'state';
  return isWhole && more.length === 0 && (device === '+' || isDeviceIdText(device ?? ''));
}

/** Whether all that a filter can match is denied: its wildcards are levels like any other to the denied one. */
function covers(denied: string, filter: string): boolean {
  if (denied === filter) return true;
  const wanted = denied.split('/');
  const levels = filter.split('/');
  for (const [i, level] of wanted.entries()) {
    if (level === '#') return true;
    if (i >= levels.length || levels[i] === '#') return false;
    if (level !== '+' && level !== levels[i]) return false;
  }
  return wanted.length === levels.length;
}
