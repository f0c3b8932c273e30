/** The descriptor’s place in the evidence log. docs/spec/evidence-log.md section 1. */

import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { FrameReader } from '@fieldproof/protocol/frame';
import { decodeEvidenceEntry, isBatchEntry } from '@fieldproof/protocol/log-entries';
import { type Descriptor, openDescriptor } from '@fieldproof/protocol/statements';
import type { LoadedDescriptor } from './descriptor.ts';
import type { Evidence } from './gate/evidence.ts';
import type { NetworkKeys } from './keys.ts';
import type { Registry } from './registry/registry.ts';

/**
 * Appends the `network` entry: entry 0 of a log, and one for every version of the descriptor.
 *
 * @returns its index; null when the log has it already.
 */
export async function logDescriptor(
  { descriptor, envelope }: LoadedDescriptor,
  context: {
    readonly evidence: Pick<Evidence, 'append'> & { readonly size: number };
    readonly registry: Registry;
    readonly now: () => number;
  },
): Promise<number | null> {
  const { evidence, registry, now } = context;
  const logged = await registry.setting('descriptor_version');
  if (evidence.size > 0 && logged === String(descriptor.version)) return null;
  const at = now();
  const { index } = await evidence.append({ type: 'network', at, descriptor: envelope });
  await noteDescriptor(descriptor, { registry, at });
  return index;
}

/** Notes that the log has a version, and since when its keys are in force. */
export async function noteDescriptor(
  descriptor: Descriptor,
  { registry, at }: { readonly registry: Registry; readonly at: number },
): Promise<void> {
  const known = await keysSince(registry);
  const since = Object.values(descriptor.keys).map((key) => {
    const id = deviceIdFromPublicKey(key);
    return [id, known[id] ?? at] as const;
  });
  await registry.setSetting('keys_since', JSON.stringify(Object.fromEntries(since)));
  await registry.setSetting('descriptor_version', String(descriptor.version));
}

/** Since when role keys are in force, Unix ms, by their id. */
export async function keysSince(registry: Registry): Promise<Readonly<Record<string, number>>> {
  return JSON.parse((await registry.setting('keys_since')) ?? '{}') as Record<string, number>;
}

/** Where entries are read from. */
interface Tailed {
  readonly size: number;
  tail(from: number, options: { readonly live: boolean }): AsyncIterable<Uint8Array>;
}

/**
 * The newest version that is known to have been in force; 0 when there was none. The log says it where the registry
 * does not yet, or not any more, because it is from an older copy.
 */
export async function versionInForce(
  evidence: Tailed,
  { registry, keys }: { readonly registry: Registry; readonly keys: NetworkKeys },
): Promise<number> {
  const known = Number((await registry.setting('descriptor_version')) ?? 0);
  const through = await registry.appliedThrough();
  const from = through < evidence.size ? through + 1 : 0;
  const envelope = await readLoggedDescriptor(evidence, from);
  return Math.max(
    Number.isSafeInteger(known) ? known : 0,
    envelope === null ? 0 : versionOf(envelope, keys),
  );
}

/** The envelope of the newest `network` entry of a log from an index on; null when there is none. Reads all of it. */
export async function readLoggedDescriptor(evidence: Tailed, from = 0): Promise<Uint8Array | null> {
  let newest: Uint8Array | null = null;
  const reader = new FrameReader(from);
  for await (const chunk of evidence.tail(from, { live: false })) {
    reader.push(chunk);
    for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
      if (isBatchEntry(frame.entry)) continue;
      const entry = decodeEvidenceEntry(frame.entry);
      if (entry.type === 'network') newest = entry.descriptor.slice();
    }
  }
  return newest;
}

/** 0 for one that this root key has not signed: nothing that could be in force. */
function versionOf(envelope: Uint8Array, { network, rootKey: publicKey }: NetworkKeys): number {
  try {
    return openDescriptor(envelope, { network, publicKey, verify }).version;
  } catch {
    return 0;
  }
}
