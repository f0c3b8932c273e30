/** The descriptor’s place in the evidence log. docs/spec/evidence-log.md section 1. */

import { FrameReader } from '@fieldproof/protocol/frame';
import { decodeEvidenceEntry, isBatchEntry } from '@fieldproof/protocol/log-entries';
import type { LoadedDescriptor } from './descriptor.ts';
import type { Evidence } from './gate/evidence.ts';
import type { Registry } from './registry/registry.ts';

/** Appends the `network` entry: entry 0 of a log, and one for every version of the descriptor. */
export async function logDescriptor(
  { descriptor, envelope }: LoadedDescriptor,
  context: {
    readonly evidence: Pick<Evidence, 'append'> & { readonly size: number };
    readonly registry: Registry;
    readonly now: () => number;
  },
): Promise<void> {
  const { evidence, registry, now } = context;
  const logged = await registry.setting('descriptor_version');
  if (evidence.size > 0 && logged === String(descriptor.version)) return;
  await evidence.append({ type: 'network', at: now(), descriptor: envelope });
  await registry.setSetting('descriptor_version', String(descriptor.version));
}

/** The envelope of the newest `network` entry of a log; null when it has none. Reads the whole log. */
export async function readLoggedDescriptor(evidence: {
  tail(from: number, options: { readonly live: boolean }): AsyncIterable<Uint8Array>;
}): Promise<Uint8Array | null> {
  let newest: Uint8Array | null = null;
  const reader = new FrameReader(0);
  for await (const chunk of evidence.tail(0, { live: false })) {
    reader.push(chunk);
    for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
      if (isBatchEntry(frame.entry)) continue;
      const entry = decodeEvidenceEntry(frame.entry);
      if (entry.type === 'network') newest = entry.descriptor.slice();
    }
  }
  return newest;
}
