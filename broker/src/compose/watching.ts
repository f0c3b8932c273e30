/** What tells how the broker is: status, health, metrics. */

import type { Descriptor } from '@fieldproof/protocol/statements';
import { mqttStatus } from '../mqtt/mqtt-status.ts';
import { descriptorFamilies, descriptorProblems } from '../observe/descriptor-watch.ts';
import { countDevices } from '../observe/device-counts.ts';
import { Health } from '../observe/health.ts';
import { collectMetrics, type MetricsSources } from '../observe/metrics.ts';
import { tlsProblems } from '../observe/tls-problems.ts';
import { VERSION } from '../observe/version.ts';
import { webhookFamilies, webhookProblems } from '../observe/webhook.ts';
import { createStatus } from '../status.ts';
import { certificateDates } from '../tls/certificate-dates.ts';
import type { Bound } from './bound.ts';
import type { Desks } from './desks.ts';
import type { DeviceLink } from './device-link.ts';
import type { Foundation } from './foundation.ts';
import type { Intake } from './intake.ts';
import type { Later } from './later.ts';
import type { Rights } from './rights.ts';

export type Watching = ReturnType<typeof composeWatching>;

export function composeWatching(
  base: Foundation,
  parts: {
    readonly rights: Rights;
    readonly intake: Intake;
    readonly desks: Desks;
    readonly link: DeviceLink;
    readonly later: Later;
    readonly bound: Bound;
  },
) {
  const { rights, intake, link, later, bound } = parts;
  const { config, network, registry, evidence, certificates, instruments, startedAt, now } = base;
  const { directory, quarantine, outages, credentials, webhook } = rights;
  const { counters, verifier, receipts, plainBroker } = intake;
  const { limiters } = parts.desks;
  const { isOnline } = link;
  /** Of the HTTP listeners. */
  const counts = { dropped: 0, stalled: 0 };
  const mqtt = { status: () => mqttStatus({ ...intake, devices: intake.server }) };
  const forDescriptor = <Item>(
    map: (descriptor: Descriptor, changes: readonly string[]) => readonly Item[],
  ): readonly Item[] => {
    const desk = later.descriptorDeskOrNull;
    return desk === null ? [] : map(desk.current.descriptor, desk.changes);
  };
  const status = createStatus({
    network,
    startedAt,
    addresses: bound.addresses,
    counters,
    mqtt: mqtt.status,
    plain: () => plainBroker.status(),
    http: counts,
    evidence,
    directory,
    tls: () => certificates?.status() ?? null,
    now,
  });
  const health = new Health({
    ...{ dataDir: base.folder, minFreeBytes: config.minFreeBytes, evidence, now },
    isReady: () => later.isReady,
    askDatabase: () => registry.appliedThrough(),
    more: () => [
      ...forDescriptor((descriptor, changes) =>
        descriptorProblems(descriptor, { changes, now: now() }),
      ),
      ...tlsProblems(certificates?.status() ?? null),
      ...webhookProblems(webhook),
    ],
  });
  const datesInForce = () => {
    const { caPem: ca, cert: server } = certificates?.current ?? {};
    return certificateDates({ ca, server });
  };
  const deviceCounts = () => countDevices(directory.all(), { isOnline, at: now() });
  const metricsSources: MetricsSources = {
    ...{ version: VERSION, network, dataDir: base.folder, startedAt, counters },
    mqtt,
    plain: plainBroker,
    ...{ evidence, receipts, verifier, http: counts, now },
    ...{ commits: instruments.commits, syncs: instruments.syncs, requests: instruments.requests },
    isReady: () => later.isReady,
    checkpointAt: () => instruments.checkpointAt,
    rateLimited: () => mapValues(limiters, ({ refused }) => refused),
    deviceCounts,
    quarantinedBoots: () => quarantine.count,
    certificates: () => mapValues(datesInForce(), ({ notAfter }) => notAfter),
    devicesAway: () => outages.count,
    credentialsExpiring: () => credentials.count,
    more: () => [
      ...forDescriptor(descriptorFamilies),
      ...webhookFamilies(webhook),
      ...instruments.process.families(),
    ],
  };

  return {
    ...{ status, health, counts, mqtt, deviceCounts },
    metrics: () => collectMetrics(metricsSources),
    certificateDates: datesInForce,
  };
}

function mapValues<In, Out>(
  record: Readonly<Record<string, In>>,
  map: (value: In) => Out,
): Readonly<Record<string, Out>> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));
}
