/** Devices as people read them: a table, and everything about one. Pure. */

import type { Delegation, Suspension } from '@fieldproof/protocol/registry-device';
import { type Column, formatFields, formatTable } from './text-layout.ts';

/** Of the terminal, and of now, Unix ms. */
export interface View {
  readonly width: number;
  readonly now: number;
}

interface Shown {
  readonly deviceId: string;
  readonly name: string;
  readonly owner: string;
  readonly group: string;
  readonly cell: string;
  readonly standing: string;
  readonly online: boolean;
  readonly lastSeenMs: number | null;
}

interface ShownText {
  readonly text: string;
}

interface ShownRetiredKey {
  readonly key: string;
  readonly firstBoot: number;
  readonly endBoot: number;
  readonly until: number;
}

interface ShownDevice extends Shown {
  readonly formerOwners: readonly string[];
  readonly texts: { readonly site: string | null; readonly notes: string | null };
  readonly written?: { readonly site: ShownText | null; readonly notes: ShownText | null };
  readonly streams: readonly {
    readonly metric: string;
    readonly cadenceMs: number;
    readonly resolution: number;
  }[];
  readonly key: string;
  readonly firstBoot: number;
  readonly retired: readonly ShownRetiredKey[];
  readonly status: string;
  readonly suspension: Suspension | null;
  readonly quarantined: readonly string[];
  readonly released: readonly string[];
  readonly delegation?: Delegation | null;
  readonly profiles: Readonly<
    Record<string, readonly { readonly metric: string; readonly unit: string }[]>
  >;
  readonly agent: string;
  readonly enrolledAt: number;
  readonly credentialIssued: number;
  readonly credentialExpires: number;
  readonly credentialExpired: boolean;
  readonly logIndex: number;
}

interface ShownAppeal {
  readonly device: string;
  readonly name: string;
  readonly owner: string;
  readonly suspension: Suspension;
  readonly text: string;
}

const ID_END = 8;

/** `devices list`. Ids and owners by their ends, which `devices` commands take for the whole. */
export function formatDevices(value: unknown, { width, now }: View): string {
  const { devices } = value as { readonly devices: readonly Shown[] };
  if (devices.length === 0) return 'no device is enrolled';
  const columns: readonly Column<Shown>[] = [
    { title: 'NAME', of: ({ name }) => name, min: 8 },
    { title: 'DEVICE', of: ({ deviceId }) => deviceId.slice(-ID_END) },
    { title: 'OWNER', of: ({ owner }) => owner.slice(-ID_END) },
    { title: 'GROUP', of: ({ group }) => group, min: 7 },
    { title: 'SITE', of: ({ cell }) => shortCell(cell), min: 7 },
    { title: 'STANDING', of: ({ standing }) => standing },
    { title: 'SEEN', of: (device) => seen(device, now) },
  ];
  return formatTable(devices, columns, width);
}

/** `devices show`, and what commands that change a device answer. */
export function formatDevice(value: unknown, { width, now }: View): string {
  const device = value as ShownDevice;
  const { texts, written } = device;
  const fields: (readonly [string, string])[] = [
    ['name', device.name],
    ['device', device.deviceId],
    ['owner', device.owner],
    ...(device.formerOwners ?? []).map((owner, i) => [i === 0 ? 'before' : '', owner] as const),
    ['group', device.group],
    ['site', device.cell === '' ? 'none' : device.cell],
    ...textField('', texts.site, written?.site),
    ...textField('notes', texts.notes, written?.notes),
    ...(device.streams ?? []).map(
      ({ metric, cadenceMs, resolution }, i) =>
        [
          i === 0 ? 'streams' : '',
          `${metric} every ${cadenceMs / 1000} s, to ${resolution}`,
        ] as const,
    ),
    ...keyFields(device),
    ['standing', device.standing],
    ...suspensionFields(device.suspension, now),
    ...listField('quarantined', device.quarantined),
    ...listField('released', device.released),
    ...relayField(device.delegation ?? null, now),
    ['seen', seen(device, now)],
    ...Object.entries(device.profiles ?? {}).map(
      ([profile, metrics], i) =>
        [
          i === 0 ? 'profiles' : '',
          `${profile}: ${metrics.map(({ metric, unit }) => `${metric} (${unit})`).join(', ')}`,
        ] as const,
    ),
    ...(device.agent === '' ? [] : [['agent', device.agent] as const]),
    ['enrolled', time(device.enrolledAt)],
    [
      'credential',
      `${time(device.credentialIssued)} to ${time(device.credentialExpires)}${device.credentialExpired ? ', EXPIRED' : ''}`,
    ],
    ['log entry', String(device.logIndex)],
    ...Object.entries(value as object)
      .filter(([key]) => !KNOWN.has(key))
      .map(([key, item]) => [key, rest(key, item)] as const),
  ];
  return formatFields(fields, width);
}

/** `appeals list`: those without a decision first. */
export function formatAppeals(value: unknown, { width, now }: View): string {
  const { appeals } = value as { readonly appeals: readonly ShownAppeal[] };
  if (appeals.length === 0) return 'no appeals';
  const isOpen = ({ suspension }: ShownAppeal) => suspension.decision === null;
  return [...appeals.filter(isOpen), ...appeals.filter((appeal) => !isOpen(appeal))]
    .map(({ device, name, owner, suspension, text }) =>
      formatFields(
        [
          ['name', name],
          ['device', device],
          ['owner', owner],
          ...suspensionFields(suspension, now),
          ['says', text],
        ],
        width,
      ),
    )
    .join('\n\n');
}

/** What the view has lines of its own for, or shows in others. */
const KNOWN = new Set([
  ...['name', 'deviceId', 'owner', 'formerOwners', 'group', 'cell', 'texts', 'written', 'streams'],
  ...['standing', 'status', 'suspension', 'quarantined', 'released', 'online', 'lastSeenMs'],
  ...['profiles', 'agent', 'enrolledAt', 'credentialIssued', 'credentialExpires'],
  ...['delegation', 'credentialExpired', 'logIndex', 'key', 'firstBoot', 'retired'],
]);

/** Of a device that has another key than its first, which is its id. */
function keyFields({ key, firstBoot, retired }: ShownDevice): (readonly [string, string])[] {
  if ((retired ?? []).length === 0) return [];
  return [
    ['key', `${key} from boot ${firstBoot}`],
    ...retired.map(
      ({ key: replaced, firstBoot: from, endBoot, until }, i) =>
        [
          i === 0 ? 'replaced' : '',
          `${replaced} boots ${from} to ${endBoot - 1}, taken until ${time(until)}`,
        ] as const,
    ),
  ];
}

function suspensionFields(
  suspension: Suspension | null,
  now: number,
): (readonly [string, string])[] {
  if (suspension === null) return [];
  const { index, at, kind, reason, evidence, until, appealUntil, appeal, decision } = suspension;
  const end = until === null ? 'until it is resumed' : `until ${time(until)}`;
  const shows = evidence.length === 0 ? '' : `; entries ${evidence.join(', ')}`;
  const open = appealUntil > now ? `possible until ${time(appealUntil)}` : 'none';
  return [
    ['suspended', `${time(at)} ${end} (entry ${index})`],
    ['for', `${kind}: ${reason}${shows}`],
    ['appeal', appeal === null ? open : `${time(appeal.at)} (entry ${appeal.index})`],
    ...(decision === null
      ? []
      : [['decision', `${decision.outcome} ${time(decision.at)}: ${decision.reason}`] as const]),
  ];
}

function relayField(
  delegation: Delegation | null,
  now: number,
): readonly (readonly [string, string])[] {
  if (delegation === null) return [];
  const { gateway, expires, index } = delegation;
  const until =
    expires === null ? '' : ` until ${time(expires)}${expires <= now ? ', EXPIRED' : ''}`;
  const who = gateway === null ? 'nobody any more' : `${gateway}${until}`;
  return [['relayed by', `${who} (entry ${index})`]];
}

function textField(
  label: string,
  commitment: string | null,
  written: ShownText | null | undefined,
): (readonly [string, string])[] {
  if (commitment === null) return [];
  // Who may change a device but not read is not told whether it is here.
  const unseen = written === undefined ? 'a text' : 'a text that is not here';
  return [[label, written?.text ?? `${unseen} (SHA-256 ${commitment})`]];
}

function listField(
  label: string,
  items: readonly string[] | undefined,
): (readonly [string, string])[] {
  return items === undefined || items.length === 0 ? [] : [[label, items.join(' ')]];
}

/** The digits below the resolution of an H3 index are all f. */
function shortCell(cell: string): string {
  return cell === '' ? '-' : cell.replace(/f+$/, '');
}

function seen({ online, lastSeenMs }: Shown, now: number): string {
  if (online) return 'online';
  if (lastSeenMs === null) return 'offline';
  const seconds = Math.max(0, Math.round((now - lastSeenMs) / 1000));
  if (seconds < 120) return `${seconds} s ago`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86_400)} d ago`;
}

/** To the second, as no one reads more. */
function time(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

function rest(key: string, item: unknown): string {
  if (/(At|Ms|until)$/.test(key) && typeof item === 'number' && item > 1e12) return time(item);
  return typeof item === 'string' ? item : JSON.stringify(item);
}
