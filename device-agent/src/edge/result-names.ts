/** Names of the results of edge functions, which must not be those of other results of the device. */

import { edgeOutputs, parseEdgeDefinition } from '@fieldproof/compute/edge-definition';
import type { EdgeSettings } from './edge-settings.ts';

/** `<profile>/<metric>` of all results of a stream. @throws {ComputeError} ERR_EDGE_DEFINITION */
export function resultNames(of: string, text: string): string[] {
  return edgeOutputs(parseEdgeDefinition(text), '').map(({ suffix }) =>
    suffix === '' ? of : `${of}.${suffix}`,
  );
}

/** Streams with results that an earlier stream, or its readings, have the name of: stream → that name. */
export function takenNames(
  settings: Readonly<Record<string, Pick<EdgeSettings[string], 'text'>>>,
): ReadonlyMap<string, string> {
  const streamOf = new Map(Object.keys(settings).map((of) => [of, of]));
  const taken = new Map<string, string>();
  for (const [of, { text }] of Object.entries(settings)) {
    for (const name of new Set(resultNames(of, text))) {
      const other = streamOf.get(name);
      if (other !== undefined && other !== of) taken.set(of, name);
      else streamOf.set(name, of);
    }
  }
  return taken;
}
