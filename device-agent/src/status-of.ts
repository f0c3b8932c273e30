/** The agent's status, put together from its parts. */

import type { Boot } from './boot.ts';
import type { Clock } from './clock.ts';
import type { ClockState } from './clock-state.ts';
import type { AgentConfig } from './config.ts';
import type { Gateway } from './gateway/gateway.ts';
import type { Intake } from './intake.ts';
import type { Journal } from './journal.ts';
import type { Link } from './link.ts';
import { lossWindow } from './loss-window.ts';
import type { Membership } from './membership.ts';
import type { MemoryFolder } from './memory-folder.ts';
import type { NetworkView } from './network-view.ts';
import type { Outbox } from './outbox.ts';
import type { ParkedStore } from './parked.ts';
import type { ReceiptFile } from './receipt-file.ts';
import type { RemoteConfig } from './remote-config.ts';
import type { Sampler } from './sampler.ts';
import type { Settlement } from './settlement.ts';
import type { AgentStatus } from './status.ts';
import type { Via } from './via.ts';
import type { WriteMeter } from './write-meter.ts';

/** What a running agent consists of. */
export interface AgentParts {
  readonly config: AgentConfig;
  readonly clock: Clock;
  readonly meter: WriteMeter;
  readonly view: NetworkView;
  readonly memory: MemoryFolder | undefined;
  readonly outbox: Outbox;
  readonly parked: ParkedStore;
  readonly journal: Journal;
  readonly settlement: Settlement;
  readonly membership: Membership;
  readonly sampler: Sampler;
  readonly intake: Intake;
  readonly link: Link;
  readonly receiptFile: ReceiptFile;
  readonly remote: RemoteConfig;
  readonly gateway: Gateway | undefined;
  readonly via: Via | undefined;
  readonly clockState: ClockState;
  readonly boot: Boot;
  readonly owner: string | null;
}

export function statusOf(parts: AgentParts): AgentStatus {
  const { config, clock, boot, membership, view, memory, gateway, via } = parts;
  const sealed = parts.journal.counts();
  const { settled, rejected, lastReject } = parts.settlement.counts();
  const stats = parts.outbox.stats();
  const { effective } = parts.intake;
  const edge = parts.intake.edgeStatus();
  return {
    device: membership.deviceId,
    network: membership.network,
    name: config.name,
    pid: process.pid,
    atMs: clock.wallMs(),
    boot: { counter: boot.counter, seed: Buffer.from(boot.seed).toString('hex') },
    link: parts.link.status(),
    clock: parts.clockState.status(),
    enrolled: membership.credential !== undefined,
    owner: membership.credential?.owner ?? parts.owner,
    counts: {
      sealed: sealed.sealed,
      readings: sealed.readings,
      recorded: settled,
      pending: stats.pending,
      rejected,
      parked: parts.parked.list().length,
      dropped: sealed.dropped,
      lostReadings: sealed.lostReadings,
    },
    lastReject,
    lastReceipt: view.lastReceipt,
    logContradicted: parts.receiptFile.contradicted,
    firstRecordedMs: view.firstRecordedMs,
    outbox: {
      bytes: stats.bytes,
      maxBytes: config.outbox.maxBytes,
      bytesWritten: stats.bytesWritten,
      syncs: stats.syncs,
    },
    sensors: parts.sampler.status(),
    ...(edge && { edge }),
    remote: parts.remote.status(),
    disk: parts.meter.status(),
    lossWindow: lossWindow(
      {
        ...config,
        edge: effective.edge,
        batch: { ...config.batch, sealEveryMs: effective.sealEveryMs },
      },
      memory !== undefined,
    ),
    ...(gateway && { gateway: gateway.status() }),
    ...(via?.gateway && { via: { gateway: via.gateway, address: `${via.host}:${via.port}` } }),
  };
}
