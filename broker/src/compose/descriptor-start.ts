/** The descriptor at the start: made or checked, in the log, and the role keys that it names in use. */

import { equalBytes } from '@fieldproof/protocol/bytes';
import type { Descriptor } from '@fieldproof/protocol/statements';
import { loadDescriptor } from '../descriptor.ts';
import { descriptorContent } from '../descriptor-content.ts';
import { DescriptorDesk, isCompromisedIn } from '../descriptor-desk.ts';
import { logDescriptor, readLoggedDescriptor, versionInForce } from '../descriptor-log.ts';
import { remedyOf } from '../errors.ts';
import { finishRotations } from '../key-rotation.ts';
import { ownKeyInForce } from '../keys.ts';
import { DescriptorWatch } from '../observe/descriptor-watch.ts';
import type { Bound } from './bound.ts';
import type { Foundation } from './foundation.ts';

/** @throws {BrokerError} ERR_DESCRIPTOR_FILE, ERR_DESCRIPTOR_NEEDED, ERR_KEY_FILE. */
export async function startDescriptor(
  base: Foundation,
  bound: Bound,
): Promise<{ readonly desk: DescriptorDesk; readonly watch: DescriptorWatch }> {
  const { config, folder, keyFiles, keys, signers, certificates, registry, evidence } = base;
  const { random, now, log } = base;
  const content = descriptorContent(
    config,
    { names: bound.lanNames, ports: bound.ports },
    certificates?.current.caHash ?? null,
  );
  const loaded = await loadDescriptor(folder, keys, {
    now: now(),
    inForce: await versionInForce(evidence, { registry, keys }),
    logged: () => readLoggedDescriptor(evidence),
    onDamaged: (error, version) =>
      log.error({ err: error, version }, 'descriptor.cose: restored from the evidence log'),
    content,
  });
  const named = loaded.descriptor.keys;
  const checkPin = ({ ca }: Descriptor) => {
    if (!certificates || certificates.isPinnedBy(ca)) return;
    log.error({ remedy: remedyOf('ERR_TLS_PIN') }, 'ERR_TLS_PIN: devices refuse the certificates');
  };
  checkPin(loaded.descriptor);
  const own = {
    registry: ownKeyInForce(folder, 'registry', named),
    log: ownKeyInForce(folder, 'log', named),
  };
  const index = await logDescriptor(loaded, { evidence, registry, now });
  const wasReplaced = index !== null && !equalBytes(named.log, keys.log.publicKey);
  const isCompromised = isCompromisedIn(loaded.descriptor, keys.log.publicKey);
  signers.start(own, wasReplaced ? { log: keys.log, index, isCompromised } : undefined);
  const finished = finishRotations(folder, named, keyFiles);
  if (finished.length > 0) log.info({ roles: finished }, 'role keys: replaced');
  const desk = new DescriptorDesk({
    dataDir: folder,
    files: keyFiles,
    ...{ content, loaded, signers, evidence, registry, random, now, log },
    onInstalled: checkPin,
  });
  const { problem, rootHere, changes } = desk.state();
  if (problem !== null && !rootHere && changes.length > 0) {
    const code = 'ERR_DESCRIPTOR_STALE';
    log.warn({ code, remedy: remedyOf(code) }, problem);
  }
  const watch = new DescriptorWatch({
    ...{ log, now },
    descriptor: () => desk.current.descriptor,
    changes: () => desk.changes,
    renew: () => desk.renew(),
  });
  return { desk, watch };
}
