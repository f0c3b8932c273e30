/** The network descriptor of a data folder whose broker does not run: before its first start, or while it is stopped. */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { networkIdFromRootKey } from '@fieldproof/protocol/network-id';
import type { Descriptor } from '@fieldproof/protocol/statements';
import type { BrokerConfig } from './config.ts';
import { openDataFolder } from './data-folder.ts';
import { openSigned } from './descriptor.ts';
import { descriptorContent } from './descriptor-content.ts';
import { checkInstallable } from './descriptor-desk.ts';
import { checkNewer, draftDescriptor } from './descriptor-draft.ts';
import { BrokerError } from './errors.ts';
import { type KeyFileLayer, nodeKeyFiles } from './key-file-layer.ts';
import { compromisedRoles } from './key-rotation.ts';
import { loadKeys, readRootKey } from './keys.ts';
import { lanNamesOf } from './listeners.ts';
import { createLogger } from './log.ts';
import { Certificates } from './tls/certificates.ts';
import { certificatesOptions } from './tls/certificates-options.ts';
import type { TlsMaterial } from './tls/tls-material.ts';

interface Signed {
  readonly descriptor: Descriptor;
  readonly envelope: Uint8Array;
}

export interface FolderContext {
  readonly now: number;
  readonly files?: KeyFileLayer;
  readonly random: (bytes: number) => Uint8Array;
}

/**
 * The descriptor in a data folder; null before the first.
 *
 * @throws {BrokerError} ERR_KEY_NOT_HERE when the folder is of no network, ERR_DESCRIPTOR_REFUSED when it is damaged.
 */
export function readFolderDescriptor(dataDir: string): Signed | null {
  const path = join(dataDir, 'descriptor.cose');
  const rootKey = requireNetwork(dataDir);
  if (!existsSync(path)) return null;
  const envelope = Uint8Array.from(readFileSync(path));
  const network = networkIdFromRootKey(rootKey);
  return { envelope, descriptor: openSigned(envelope, { network, rootKey }) };
}

/**
 * The next descriptor of a data folder, for a broker of these settings.
 *
 * @throws {BrokerError} ERR_DATA_LOCKED while a broker runs; ERR_KEY_NOT_HERE; ERR_CONFIG when a port is not fixed.
 */
export async function draftInFolder(
  config: BrokerConfig,
  { now, random }: FolderContext,
): Promise<{ readonly draft: Descriptor; readonly current: Descriptor | null }> {
  const { dataDir, lan } = config;
  requireNetwork(dataDir);
  const ports = {
    http: config.httpPort,
    mqtt: config.mqttPort,
    https: lan ? config.httpsPort : 0,
    mqtts: lan ? config.mqttsPort : 0,
  };
  if (ports.http === 0 || ports.mqtt === 0 || (lan && (ports.https === 0 || ports.mqtts === 0))) {
    throw new BrokerError(
      'ERR_CONFIG',
      'ports: expected fixed ones, since the descriptor says them',
    );
  }
  return locked(dataDir, async () => {
    const keys = loadKeys(dataDir, random);
    const { network } = keys;
    const tls = lan ? await certificatesOf(config, { network, now }) : null;
    const names = lanNamesOf(config, tls);
    const content = descriptorContent(config, { names, ports }, tls?.caHash ?? null);
    const current = readFolderDescriptor(dataDir)?.descriptor ?? null;
    const compromised = compromisedRoles(dataDir);
    return {
      draft: draftDescriptor(keys, { content, before: current, compromised, now }),
      current,
    };
  });
}

/**
 * Puts a signed descriptor into a data folder; the next start takes it into force.
 *
 * @throws {BrokerError} ERR_DATA_LOCKED while a broker runs; ERR_KEY_NOT_HERE; ERR_DESCRIPTOR_REFUSED.
 */
export async function installInFolder(
  dataDir: string,
  envelope: Uint8Array,
  { now, files = nodeKeyFiles }: Pick<FolderContext, 'now' | 'files'>,
): Promise<Descriptor> {
  const rootKey = requireNetwork(dataDir);
  return locked(dataDir, async () => {
    const descriptor = openSigned(envelope, { network: networkIdFromRootKey(rootKey), rootKey });
    checkNewer(descriptor, readFolderDescriptor(dataDir)?.descriptor ?? null);
    checkInstallable(descriptor, { dataDir, now });
    files.replace(join(dataDir, 'descriptor.cose'), envelope, 0o644);
    return descriptor;
  });
}

/** @throws {BrokerError} ERR_KEY_NOT_HERE. */
function requireNetwork(dataDir: string): Uint8Array {
  if (existsSync(join(dataDir, 'keys', 'root.pub'))) return readRootKey(dataDir);
  throw new BrokerError(
    'ERR_KEY_NOT_HERE',
    `data folder ${dataDir}: expected keys/root.pub, got none; run fieldproof-broker init or start first`,
  );
}

/** Those that the broker will serve with; our own are made where they are missing. */
async function certificatesOf(
  config: BrokerConfig,
  { network, now }: { readonly network: string; readonly now: number },
): Promise<TlsMaterial> {
  const log = createLogger('silent');
  const context = { folder: config.dataDir, network, now: () => now, log };
  return (await Certificates.load(certificatesOptions(config, context))).current;
}

async function locked<T>(dataDir: string, work: () => Promise<T>): Promise<T> {
  const folder = await openDataFolder(dataDir);
  try {
    return await work();
  } finally {
    await folder.close();
  }
}
