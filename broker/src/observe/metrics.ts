/**
 * The broker's metrics, taken at the time of a scrape from what the parts count anyway: nothing here is in the way of
 * a message. Names by Prometheus' conventions, base units. The table is in docs/guides/observability.md.
 */

import { statfs } from 'node:fs/promises';
import type { CounterValues } from '../gate/counters.ts';
import type { MqttStatus } from '../mqtt/mqtt-status.ts';
import type { PlainStatus } from '../mqtt/plain/plain-status.ts';
import type { DeviceCounts } from './device-counts.ts';
import { type Distribution, type Family, keyed, type Sample, single } from './exposition.ts';
import { mqttFamilies, plainFamilies } from './mqtt-metrics.ts';

/** What is scraped. All of it is asked for anew each time. */
export interface MetricsSources {
  readonly version: string;
  readonly network: string;
  readonly dataDir: string;
  readonly startedAt: number;
  readonly isReady: () => boolean;
  readonly counters: { readonly values: () => CounterValues };
  readonly mqtt: { readonly status: () => MqttStatus };
  readonly plain: { readonly status: () => PlainStatus };
  readonly evidence: {
    readonly size: number;
    readonly pendingBytes: number;
    readonly isRefusing: boolean;
    readonly problem: object | null;
    readonly checkpoint: { readonly size: number } | null;
  };
  /** When the newest checkpoint was published, Unix ms; null before the first of this process. */
  readonly checkpointAt: () => number | null;
  readonly commits: Distribution;
  readonly syncs: Distribution;
  readonly receipts: { readonly sent: number };
  readonly verifier: { readonly waiting: number; readonly threads: number };
  readonly http: { readonly dropped: number; readonly stalled: number };
  readonly requests: { readonly samples: () => readonly Sample[] };
  /** Requests refused by a rate limit, by the name of the limit. */
  readonly rateLimited: () => Readonly<Record<string, number>>;
  readonly deviceCounts: () => DeviceCounts;
  readonly quarantinedBoots: () => number;
  /** Devices whose outage was told. */
  readonly devicesAway: () => number;
  /** Devices that were told of because they do not renew their credential. */
  readonly credentialsExpiring: () => number;
  /** When certificates end, Unix ms, by name. */
  readonly certificates: () => Readonly<Record<string, number>>;
  /** Families of other parts, such as the process, the log and the webhooks. */
  readonly more: () => readonly Family[];
}

const PREFIX = 'fieldproof_broker_';

export async function collectMetrics(sources: MetricsSources): Promise<readonly Family[]> {
  const { version, network, startedAt, isReady } = sources;
  return [
    {
      type: 'gauge',
      name: `${PREFIX}build_info`,
      help: 'Always 1; what runs.',
      samples: [{ labels: { version, node: process.version, network }, value: 1 }],
    },
    gauge('start_time_seconds', 'When the broker started, Unix time.', startedAt / 1000),
    gauge('ready', '1 while everything is served, 0 while starting or stopping.', flag(isReady())),
    ...verdictFamilies(sources.counters.values()),
    ...mqttFamilies(sources.mqtt.status()),
    ...plainFamilies(sources.plain.status()),
    ...evidenceFamilies(sources),
    counter('receipts_sent_total', 'Receipts published to devices.', sources.receipts.sent),
    gauge(
      'verification_queue_length',
      'Envelopes that wait for a verifying thread or are with one.',
      sources.verifier.waiting,
    ),
    gauge(
      'verification_threads',
      'Threads that verify; 0: on the main thread.',
      sources.verifier.threads,
    ),
    ...httpFamilies(sources),
    ...deviceFamilies(sources),
    keyed('gauge', `${PREFIX}certificate_expiry_timestamp_seconds`, {
      help: 'When a TLS certificate ends, Unix time.',
      label: 'certificate',
      values: inSeconds(sources.certificates()),
    }),
    ...(await diskFamilies(sources.dataDir)),
    ...sources.more(),
  ];
}

function verdictFamilies(values: CounterValues): readonly Family[] {
  const { received, accepted, duplicate, rejectedByCode, unsettledRejects, inFlight } = values;
  const verdict = (name: string, code: string, value: number): Sample => ({
    labels: { verdict: name, code },
    value,
  });
  return [
    counter('messages_received_total', 'PUBLISH packets of devices.', received),
    {
      type: 'counter',
      name: `${PREFIX}verdicts_total`,
      help: 'What became of them; code is empty unless rejected.',
      samples: [
        verdict('accepted', '', accepted),
        verdict('duplicate', '', duplicate),
        ...Object.entries(rejectedByCode).map(([code, count]) => verdict('rejected', code, count)),
      ],
    },
    counter(
      'unsettled_rejects_total',
      'Rejects that leave a hole, because the device acknowledges none.',
      unsettledRejects,
    ),
    gauge('messages_in_flight', 'PUBLISH packets without a verdict.', inFlight),
  ];
}

function evidenceFamilies(sources: MetricsSources): readonly Family[] {
  const { evidence, commits, syncs, checkpointAt } = sources;
  const published = evidence.checkpoint?.size ?? 0;
  const at = checkpointAt();
  const isWritable = !evidence.isRefusing && evidence.problem === null;
  return [
    gauge('evidence_entries', 'Durable entries of the evidence log.', evidence.size),
    gauge('evidence_published_entries', 'Entries below the newest checkpoint.', published),
    gauge('evidence_pending_bytes', 'Appended and not yet durable.', evidence.pendingBytes),
    gauge('evidence_writable', '0 while the disk refuses the log.', flag(isWritable)),
    ...(at === null
      ? []
      : [
          gauge(
            'evidence_checkpoint_timestamp_seconds',
            'When the newest checkpoint was published, Unix time.',
            at / 1000,
          ),
        ]),
    histogram(
      'evidence_commit_duration_seconds',
      'From the start of a commit to durable.',
      commits,
    ),
    histogram('evidence_fsync_duration_seconds', 'Of each fdatasync of the log’s files.', syncs),
  ];
}

function httpFamilies(sources: MetricsSources): readonly Family[] {
  const { http, requests, rateLimited } = sources;
  return [
    {
      type: 'counter',
      name: `${PREFIX}http_requests_total`,
      help: 'Answered HTTP requests.',
      samples: requests.samples(),
    },
    keyed('counter', `${PREFIX}http_cut_connections_total`, {
      help: 'HTTP connections closed because of limits.',
      label: 'reason',
      values: { too_many: http.dropped, stalled: http.stalled },
    }),
    keyed('counter', `${PREFIX}rate_limited_total`, {
      help: 'Refused by a rate limit.',
      label: 'limit',
      values: rateLimited(),
    }),
  ];
}

function deviceFamilies(sources: MetricsSources): readonly Family[] {
  const { deviceCounts, quarantinedBoots, devicesAway, credentialsExpiring } = sources;
  const { standings, online } = deviceCounts();
  return [
    keyed('gauge', `${PREFIX}devices`, {
      help: 'Devices by standing.',
      label: 'standing',
      values: standings,
    }),
    gauge('devices_online', 'Devices that are logged in.', online),
    gauge('devices_away', 'Devices without a session for offlineAfterMs.', devicesAway()),
    gauge(
      'devices_credential_expiring',
      'Devices that have not renewed their credential as its end comes near, or is past.',
      credentialsExpiring(),
    ),
    gauge('quarantined_boots', 'Boots refused as those of a clone.', quarantinedBoots()),
  ];
}

/** None while the folder cannot be read: that is for `/readyz` to say, and the rest is scraped all the same. */
async function diskFamilies(dataDir: string): Promise<readonly Family[]> {
  const found = await statfs(dataDir).catch(() => null);
  if (found === null) return [];
  const { bavail, blocks, bsize } = found;
  return [
    gauge('data_disk_free_bytes', 'Free space where the data folder is.', bavail * bsize),
    gauge('data_disk_size_bytes', 'Size of that file system.', blocks * bsize),
  ];
}

function gauge(name: string, help: string, value: number): Family {
  return single('gauge', `${PREFIX}${name}`, { help, value });
}

function counter(name: string, help: string, value: number): Family {
  return single('counter', `${PREFIX}${name}`, { help, value });
}

function histogram(name: string, help: string, distribution: Distribution): Family {
  return { type: 'histogram', name: `${PREFIX}${name}`, help, distribution };
}

function flag(value: boolean): number {
  return value ? 1 : 0;
}

function inSeconds(times: Readonly<Record<string, number>>): Readonly<Record<string, number>> {
  return Object.fromEntries(Object.entries(times).map(([name, ms]) => [name, ms / 1000]));
}
