/** What the agent says about itself: a plain object, and the file that `fieldproof-agent status` reads. */

import { join } from 'node:path';
import type { ClockStatus } from './clock-state.ts';
import { type Disk, systemDisk } from './disk.ts';
import { readIfPresent, replaceFile } from './durable-file.ts';
import { type EdgeStatus, formatEdge } from './edge/edge-status.ts';
import { AGENT_ERRORS } from './errors.ts';
import { formatGateway, type GatewayStatus } from './gateway/gateway-status.ts';
import type { LinkStatus } from './link.ts';
import { inOneLine } from './log.ts';
import { formatLossWindow, type LossWindow } from './loss-window.ts';
import { memoryFolderOf } from './memory-folder.ts';
import { formatRemote, type RemoteStatus } from './remote-status.ts';
import type { SensorStatus } from './sampler.ts';
import type { WriteStatus } from './write-meter.ts';

export interface AgentStatus {
  readonly device: string;
  readonly network: string;
  readonly name: string;
  readonly pid: number;
  /** Unix ms. */
  readonly atMs: number;
  readonly boot: { readonly counter: number; readonly seed: string };
  readonly link: LinkStatus;
  readonly clock: ClockStatus;
  readonly enrolled: boolean;
  readonly owner: string | null;
  /** Envelopes and readings since the agent started, but `pending` and `parked`, which are on disk. */
  readonly counts: {
    readonly sealed: number;
    readonly readings: number;
    /** Envelopes that the network has proved to have. */
    readonly recorded: number;
    readonly pending: number;
    readonly rejected: number;
    readonly parked: number;
    readonly dropped: number;
    readonly lostReadings: number;
  };
  readonly lastReject: {
    readonly code: string;
    readonly remedy: string;
    readonly atMs: number;
  } | null;
  /** The newest receipt, which `state/receipt.cose` holds as it was signed. */
  readonly lastReceipt: {
    readonly atMs: number;
    /** Index of this device's newest entry in the evidence log. */
    readonly entry: number;
    /** Entries under the newest checkpoint that was verified. */
    readonly checkpointSize: number | null;
  } | null;
  /** The network has signed something that contradicts the kept receipt. */
  readonly logContradicted: boolean;
  /** Unix ms of the receipt that settled the first readings of this run. */
  readonly firstRecordedMs: number | null;
  readonly outbox: {
    readonly bytes: number;
    readonly maxBytes: number;
    readonly bytesWritten: number;
    readonly syncs: number;
  };
  readonly sensors: readonly SensorStatus[];
  /** Functions of readings; absent where there are none. */
  readonly edge?: EdgeStatus;
  /** What an operator has set; absent in a file of an older agent. */
  readonly remote?: RemoteStatus;
  /** What the agent has written to the card, and may lose; absent in a file of an older agent. */
  readonly disk?: WriteStatus;
  readonly lossWindow?: LossWindow;
  /** Of a gateway. */
  readonly gateway?: GatewayStatus;
  /** Of a leaf: the gateway that it goes through. */
  readonly via?: { readonly gateway: string; readonly address: string };
}

const FILE = 'status.json';

/** Writes the status where `loadStatus` finds it: in the data folder or the agent's memory folder. Not fsynced. */
export async function saveStatus(
  folder: string,
  status: AgentStatus,
  disk: Disk = systemDisk,
): Promise<void> {
  const content = `${JSON.stringify(status)}\n`;
  await replaceFile(join(folder, FILE), content, { durable: false, disk });
}

/** The status as the agent last wrote it, or undefined when there is none. */
export async function loadStatus(dataDir: string): Promise<AgentStatus | undefined> {
  const memory = await memoryFolderOf(join(dataDir, 'state'));
  for (const folder of memory === undefined ? [dataDir] : [memory, dataDir]) {
    const bytes = await readIfPresent(join(folder, FILE)).catch(() => undefined);
    if (bytes === undefined) continue;
    try {
      const status: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
      if (isStatus(status)) return status;
    } catch {
      // Cut off by a crash: the other one, or none.
    }
  }
  return undefined;
}

/** Whether a file has what this version shows: one of an agent that is much older, or damaged, is none. */
function isStatus(value: unknown): value is AgentStatus {
  const { device, atMs, boot, link, clock, counts, outbox, sensors } = (value ?? {}) as Partial<
    Record<keyof AgentStatus, unknown>
  >;
  const isDate = (ms: unknown) => typeof ms === 'number' && Math.abs(ms) <= 8.64e15;
  return (
    typeof device === 'string' &&
    isDate(atMs) &&
    [boot, link, clock, counts, outbox].every(
      (part) => typeof part === 'object' && part !== null,
    ) &&
    isDate((link as { sinceMs?: unknown }).sinceMs) &&
    Array.isArray(sensors)
  );
}

/** What is written a day, against its budget; before an hour has passed, what was written. */
export function formatDisk({ bytes, bytesPerDay, budgetBytesPerDay }: WriteStatus): string {
  const megabytes = (count: number): string => (count / 1e6).toFixed(1);
  if (bytesPerDay === null) return `${megabytes(bytes)} MB written; a day's figure after an hour`;
  const over = bytesPerDay > budgetBytesPerDay ? ', over budget: see doctor' : '';
  return `${megabytes(bytesPerDay)} MB/day of ${megabytes(budgetBytesPerDay)}${over}`;
}

/** A status as lines for a person. */
export function formatStatus(status: AgentStatus, running: boolean): string {
  const { link, clock, counts, outbox } = status;
  const time = (ms: number) => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
  const rows: [string, string][] = [
    ['device', status.device],
    ['network', `${status.network}${status.enrolled ? '' : ' (not enrolled yet)'}`],
    ['owner', status.owner ?? 'none'],
    [
      'agent',
      running ? `running, boot ${status.boot.counter}` : `not running since ${time(status.atMs)}`,
    ],
    ['link', `${link.state} since ${time(link.sinceMs)}${link.reason ? `: ${link.reason}` : ''}`],
    [
      'clock',
      clock.synced ? `synchronised by ${clock.by} within ${clock.boundMs} ms` : 'not confirmed',
    ],
    [
      'recorded',
      `${counts.recorded} envelopes of ${counts.sealed} sealed (${counts.readings} readings)`,
    ],
    ['pending', `${counts.pending} (${size(outbox.bytes)} of ${size(outbox.maxBytes)})`],
    ['parked', `${counts.parked}`],
    ['given up', `${counts.dropped} envelopes, ${counts.lostReadings} readings`],
  ];
  const cloned = AGENT_ERRORS.ERR_AGENT_CLONED;
  if (link.reason?.startsWith('ERR_AGENT_CLONED')) {
    rows.push(['quarantined', cloned.what], ['what to do', cloned.remedy]);
  }
  if (status.disk) rows.push(['disk', formatDisk(status.disk)]);
  if (status.lossWindow) rows.push(['may be lost', formatLossWindow(status.lossWindow)]);
  if (status.lastReceipt) {
    const { atMs, entry, checkpointSize } = status.lastReceipt;
    const size = checkpointSize === null ? '' : `, checkpoint of ${checkpointSize}`;
    rows.push(['last receipt', `${time(atMs)}, entry ${entry}${size}; state/receipt.cose`]);
  }
  if (status.logContradicted) {
    rows.push(['evidence', 'the log went back or forked: keep state/receipt*.cose']);
  }
  if (status.lastReject) {
    const { code, remedy, atMs } = status.lastReject;
    rows.push(['last reject', `${code} at ${time(atMs)}: ${remedy}`]);
  }
  if (status.edge !== undefined) rows.push(...formatEdge(status.edge));
  if (status.remote !== undefined) rows.push(...formatRemote(status.remote));
  if (status.via) rows.push(['through', `gateway ${status.via.gateway} at ${status.via.address}`]);
  if (status.gateway !== undefined) rows.push(...formatGateway(status.gateway));
  for (const { profile, driver, failing, samples, rejected } of status.sensors) {
    const refused = Object.entries(rejected).map(([reason, count]) => `${count} ${reason}`);
    rows.push([
      `sensor ${profile}`,
      `${driver}, ${samples} ${samples === 1 ? 'sample' : 'samples'}${refused.length > 0 ? `, refused: ${refused.join(', ')}` : ''}${
        failing ? `, fails: ${failing}` : ''
      }`,
    ]);
  }
  return rows.map(([name, value]) => inOneLine(`${name.padEnd(16)}${value}`)).join('\n');
}

/** Bytes as people read them: 512 bytes, 1.3 kB, 268.4 MB. */
function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} bytes`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
