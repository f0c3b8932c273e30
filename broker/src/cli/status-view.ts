/** `fieldproof-broker status` for people: what is wrong first, then the numbers. Pure. */

import type { PlainStatus } from '../mqtt/plain/plain-status.ts';
import type { OpenProblem } from '../observe/health.ts';
import { formatFields } from './text-layout.ts';

interface ShownStatus {
  readonly network: string;
  readonly uptimeMs: number;
  readonly devices: number;
  readonly addresses: Readonly<Record<string, string | null>>;
  readonly verdicts: {
    readonly received: number;
    readonly accepted: number;
    readonly duplicate: number;
    readonly rejected: number;
    readonly inFlight: number;
    readonly rejectedByCode: Readonly<Record<string, number>>;
  };
  readonly evidence: { readonly entries: number; readonly published: number };
  readonly mqtt: {
    readonly sessions: number;
    readonly connections: number;
    readonly refused: Readonly<Record<string, number>>;
  };
  readonly plain?: PlainStatus;
  readonly tls?: { readonly daysLeft: number } | null;
  /** Of a broker that answers with them. */
  readonly problems?: readonly OpenProblem[];
}

const DAY_S = 86_400;
/** So many of a list, the most frequent first; the rest is a number. */
const MAX_SHOWN = 8;

/** @param width - columns of the terminal. */
export function formatStatus(value: unknown, width = 80): string {
  const { network, uptimeMs, devices, addresses, verdicts, evidence, mqtt, ...rest } =
    value as ShownStatus;
  const { tls = null, plain = null, problems = [] } = rest;
  const served = Object.values(addresses).filter((address) => address !== null && address !== '');
  const { received, accepted, duplicate, rejected, inFlight } = verdicts;
  const unpublished = evidence.entries - evidence.published;
  const fields: (readonly [string, string])[] = [
    ...problems.map(problemField),
    ['network', `${network}, up ${formatUptime(uptimeMs)}`],
    ['addresses', served.join('\n')],
    ['devices', `${devices} enrolled, ${mqtt.sessions} online`],
    ['connections', `${mqtt.connections} MQTT`],
    ...listField('refused', mqtt.refused),
    [
      'received',
      `${received} = ${accepted} accepted + ${duplicate} duplicate + ${rejected} rejected${
        inFlight > 0 ? ` + ${inFlight} in flight` : ''
      }`,
    ],
    ...listField('rejected', verdicts.rejectedByCode),
    [
      'evidence',
      `${evidence.entries} entries${unpublished > 0 ? `, ${unpublished} not yet published` : ''}`,
    ],
    ...(plain === null || !isInUse(plain, addresses) ? [] : plainFields(plain)),
    ...(tls === null ? [] : [['certificate', `${tls.daysLeft} days left`] as const]),
  ];
  return formatFields(fields, width);
}

function problemField({ part, code, detail, remedy }: OpenProblem): readonly [string, string] {
  return ['PROBLEM', `${part}: ${code}\n${detail}\n${remedy}`];
}

/** Whether its listener is open, or somebody came in by another one with an access token. */
function isInUse(
  { sessions, received }: PlainStatus,
  addresses: ShownStatus['addresses'],
): boolean {
  return typeof addresses.plain === 'string' || sessions > 0 || received > 0;
}

function plainFields(plain: PlainStatus): readonly (readonly [string, string])[] {
  const { online, sessions, subscriptions, received, delivered, retained, queued } = plain;
  const lines = [
    `${online} online, ${sessions} sessions, ${subscriptions} subscriptions`,
    `${received} received, ${delivered} delivered`,
    `${retained} retained, ${queued} queued (${formatBytes(plain.queuedBytes)})`,
  ];
  return [['plain', lines.join('\n')], ...listField('', plain.refused)];
}

function formatBytes(bytes: number): string {
  return bytes < 1024 * 1024
    ? `${Math.ceil(bytes / 1024)} KiB`
    : `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}

/** Counts by name, one line each. */
function listField(
  label: string,
  counts: Readonly<Record<string, number>>,
): readonly (readonly [string, string])[] {
  const all = Object.entries(counts).sort(([, a], [, b]) => b - a);
  if (all.length === 0) return [];
  const shown = all.slice(0, MAX_SHOWN).map(([name, count]) => `${count} ${name}`);
  const others = all.slice(MAX_SHOWN).reduce((sum, [, count]) => sum + count, 0);
  return [[label, [...shown, ...(others > 0 ? [`${others} others`] : [])].join('\n')]];
}

/** The two largest units. */
function formatUptime(ms: number): string {
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < DAY_S) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / DAY_S)} d ${Math.floor((s % DAY_S) / 3600)} h`;
}
