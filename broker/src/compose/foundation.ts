/** What the rest of the broker stands on: clock, log, data folder, keys, certificates, database, evidence log. */

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { addressRule } from '@fieldproof/protocol/address-share-node';
import type { BrokerConfig } from '../config.ts';
import { openDataFolder } from '../data-folder.ts';
import { remedyOf } from '../errors.ts';
import { EvidenceLog } from '../evidence/evidence-log.ts';
import { type FileLayer, nodeFiles } from '../evidence/file-layer.ts';
import { loadAccess } from '../http/access.ts';
import { type KeyFileLayer, nodeKeyFiles } from '../key-file-layer.ts';
import { loadKeys } from '../keys.ts';
import { createLogger, type Logger } from '../log.ts';
import { Instruments } from '../observe/instruments.ts';
import { LogRing } from '../observe/log-ring.ts';
import { passwordIn, Scrubber, secretLines, secretsIn } from '../observe/scrubber.ts';
import type { AccessDesk } from '../registry/access-desk.ts';
import { openRegistryDatabase } from '../registry/database.ts';
import { Registry } from '../registry/registry.ts';
import { RoleSigners } from '../role-signers.ts';
import { Certificates } from '../tls/certificates.ts';
import { certificatesOptions } from '../tls/certificates-options.ts';

/** Replaced in tests. */
export interface BrokerDependencies {
  readonly now?: () => number;
  readonly random?: (bytes: number) => Uint8Array;
  readonly files?: FileLayer;
  readonly keyFiles?: KeyFileLayer;
  /** Takes the lines of the log; default standard error. */
  readonly logDestination?: { readonly write: (line: string) => void };
}

/** What to close, in the order of opening. */
export type Cleanup = (() => Promise<void> | void)[];

export type Foundation = Awaited<ReturnType<typeof openFoundation>>;

/** @throws {BrokerError} ERR_CONFIG, ERR_DATA_LOCKED, ERR_DATA_NEWER, ERR_KEY_FILE, ERR_LOG_CORRUPT, ERR_REGISTRY_DATABASE, ERR_TLS_… */
export async function openFoundation(
  config: BrokerConfig,
  dependencies: BrokerDependencies,
  cleanup: Cleanup,
) {
  const now = dependencies.now ?? Date.now;
  const random = dependencies.random ?? ((bytes) => Uint8Array.from(randomBytes(bytes)));
  const scrubber = new Scrubber();
  scrubber.add(passwordIn(config.databaseUrl) ?? '');
  const ring = new LogRing();
  const { logDestination } = dependencies;
  const log = createLogger(config.logLevel, {
    ...{ scrubber, ring },
    ...(logDestination && { destination: logDestination }),
  });
  const startedAt = now();
  const instruments = new Instruments(now);
  cleanup.push(() => instruments.stop());

  const shareOf = addressRule(config.trustedAddresses);
  const data = await openDataFolder(config.dataDir);
  cleanup.push(() => data.close());
  const keyFiles = dependencies.keyFiles ?? nodeKeyFiles;
  const keys = loadKeys(data.path, random, keyFiles);
  const { network } = keys;
  const signers = new RoleSigners();
  /** Named tokens are known once the registry has caught up. */
  const named: { desk: AccessDesk | null } = { desk: null };
  const access = loadAccess(
    data.path,
    random,
    (file) => log.warn({ file }, 'token file: held no whole token; there is a new one in it'),
    (text) => named.desk?.judge(text) ?? null,
  );
  const certificates = config.lan
    ? await Certificates.load(certificatesOptions(config, { folder: data.path, network, now, log }))
    : null;
  const tls = certificates?.current ?? null;
  const secrets = [...secretsIn(data.path), ...secretLines(tls?.key ?? '')];
  for (const secret of secrets) scrubber.add(secret);

  const file = join(data.path, 'registry.sqlite');
  const database = await openRegistryDatabase({
    ...{ url: config.databaseUrl, file },
    // The driver's error names the server and the user.
    onLost: ({ message }) => {
      const code = 'ERR_REGISTRY_DATABASE';
      const fields = { event: 'database-lost', code, detail: message, remedy: remedyOf(code) };
      log.warn(fields, 'registry: a connection to the database broke');
    },
  });
  const registry = new Registry(database);
  cleanup.push(() => registry.close());
  await registry.claim(network);
  const evidence = await openEvidence(config, {
    ...{ folder: data.path, network, signers, log, instruments },
    files: dependencies.files ?? nodeFiles,
  });
  cleanup.push(() => evidence.close());
  cleanup.push(() => signers.close());
  instruments.foundCheckpoint(evidence.publishedFolder);
  for (const tail of evidence.report.dropped) {
    if (tail.acknowledgedBytes === 0) log.warn(tail, 'evidence log: a torn write was cut off');
    else log.error(tail, 'evidence log: the end of the file is lost, acknowledged entries with it');
  }

  return {
    ...{ config, now, random, log, ring, scrubber, startedAt, instruments, shareOf, cleanup },
    ...{ folder: data.path, keyFiles, keys, network, signers, access, named, certificates },
    ...{ database, registry, evidence },
  };
}

function openEvidence(
  config: BrokerConfig,
  context: {
    readonly folder: string;
    readonly network: string;
    readonly signers: RoleSigners;
    readonly log: Logger;
    readonly instruments: Instruments;
    readonly files: FileLayer;
  },
): Promise<EvidenceLog> {
  const { folder, network, signers, log, instruments, files } = context;
  const origin = `fieldproof/${network}/evidence`;
  return EvidenceLog.open({
    folder: join(folder, 'evidence'),
    origin,
    sign: (checkpoint) => signers.signCheckpoint(checkpoint),
    onFailure: (error) => log.error({ err: error }, 'evidence log: tried again'),
    ...instruments.evidenceOptions(files),
    settings: {
      maxPendingBytes: config.maxPendingBytes,
      publishIntervalMs: config.publishIntervalMs,
    },
  });
}
