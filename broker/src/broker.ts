/**
 * The broker: registry, evidence log, gate, MQTT and HTTP in one process.
 *
 * Start: data folder, keys, registry, evidence log, listeners that answer "not ready", the descriptor with the real
 * ports, the registry caught up from the log, open. Stop is the reverse, with everything made durable.
 */

import { addressFile } from './cli/admin-client.ts';
import { nothingBound } from './compose/bound.ts';
import { startChores } from './compose/chores.ts';
import { startDescriptor } from './compose/descriptor-start.ts';
import { composeDesks } from './compose/desks.ts';
import { DeviceLink } from './compose/device-link.ts';
import { type BrokerDependencies, type Cleanup, openFoundation } from './compose/foundation.ts';
import { openIntake } from './compose/intake.ts';
import { Later } from './compose/later.ts';
import { openListeners } from './compose/listening.ts';
import { RejectTally } from './compose/reject-tally.ts';
import { catchUpFromLog, openRights } from './compose/rights.ts';
import { composeRoutes } from './compose/routes.ts';
import { composeWatching } from './compose/watching.ts';
import type { BrokerOptions } from './config.ts';
import { type BrokerConfig, resolveConfig } from './config.ts';
import type { Addresses } from './listeners.ts';
import type { PlainBroker } from './mqtt/plain/plain-broker.ts';
import type { AccessIdentity } from './registry/access-desk.ts';
import { replaceFile } from './replace-file.ts';
import type { createStatus } from './status.ts';

export type { BrokerDependencies };

export interface RunningBroker {
  readonly network: string;
  readonly rootKey: Uint8Array;
  readonly addresses: Addresses;
  /** The plain profile. */
  readonly plain: PlainBroker;
  /** What `GET /admin/status` answers. */
  readonly status: () => ReturnType<ReturnType<typeof createStatus>>;
  /** Who presents a bearer token, of a file or named; null for one that lets nobody in. */
  readonly judgeAccessToken: (text: string) => AccessIdentity | null;
  /** Reads the TLS certificates again; what is wrong with them is logged and those in use stay. */
  readonly reloadCertificates: () => Promise<void>;
  /** Ends clients and listeners, makes everything durable. Idempotent. */
  readonly stop: () => Promise<void>;
}

/** How long a stop waits for verdicts that are on their way. */
const DRAIN_MS = 3000;

/**
 * Starts a broker.
 *
 * @throws {BrokerError} ERR_CONFIG, ERR_PORT_TAKEN, ERR_DATA_LOCKED, ERR_DATA_NEWER, ERR_KEY_FILE,
 * ERR_DESCRIPTOR_FILE, ERR_DESCRIPTOR_NEEDED, ERR_LOG_CORRUPT, ERR_REGISTRY_DATABASE;
 * what was opened before is closed again.
 */
export async function startBroker(
  options: BrokerOptions,
  dependencies: BrokerDependencies = {},
): Promise<RunningBroker> {
  const config = resolveConfig(options);
  const cleanup: Cleanup = [];
  const unwind = async () => {
    for (let close = cleanup.pop(); close !== undefined; close = cleanup.pop()) await close();
  };
  try {
    return await compose(config, dependencies, { cleanup, unwind });
  } catch (error) {
    await unwind();
    throw error;
  }
}

interface Lifetime {
  readonly cleanup: Cleanup;
  readonly unwind: () => Promise<void>;
}

async function compose(
  config: BrokerConfig,
  dependencies: BrokerDependencies,
  { cleanup, unwind }: Lifetime,
): Promise<RunningBroker> {
  const base = await openFoundation(config, dependencies, cleanup);
  const { network, keys, access, certificates, evidence, log, now } = base;
  const link = new DeviceLink();
  const later = new Later();
  const bound = nothingBound(config, certificates?.current ?? null);
  const rights = await openRights(base, link);
  const intake = await openIntake(base, rights, link);
  const { counters, desk, plainBroker } = intake;
  const tally = new RejectTally({ counters, evidence, now });
  cleanup.push(async () => {
    const until = Date.now() + DRAIN_MS;
    while (counters.values().inFlight > 0 && Date.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await tally.write().catch((error: unknown) => log.error({ err: error }, 'tally: not written'));
  });
  const parts = { rights, intake, link, later, bound };
  const desks = composeDesks(base, parts);
  const watching = composeWatching(base, { ...parts, desks });
  const routes = composeRoutes(base, { ...parts, desks, watching });
  const renewables = await openListeners(base, { ...parts, routes, counts: watching.counts });
  const descriptor = await startDescriptor(base, bound);
  later.open(descriptor.desk);
  await catchUpFromLog(base, rights);
  if (certificates) {
    certificates.watch(renewables);
    cleanup.push(() => certificates.stop());
  }
  const { addresses } = bound;
  replaceFile(addressFile(base.folder), `${addresses.http}\n`, 0o644);
  later.isReady = true;
  startChores(base, { ...parts, watching, tally, descriptorWatch: descriptor.watch });
  desk.open();
  log.info({ network, addresses, entries: evidence.size }, 'broker: ready');
  let stopping: Promise<void> | null = null;
  const stop = () => {
    stopping ??= unwind().then(() => log.info('broker: stopped'));
    return stopping;
  };
  return {
    ...{ network, rootKey: keys.rootKey, addresses, plain: plainBroker, stop },
    status: watching.status,
    reloadCertificates: async () => certificates?.reload(),
    judgeAccessToken: access.judge,
  };
}
