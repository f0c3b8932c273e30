/** The descriptor’s place in the evidence log. docs/spec/evidence-log.md section 1. */

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
