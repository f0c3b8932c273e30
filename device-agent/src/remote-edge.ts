/** Mistakes in edge functions that come from afar, found as those of the configuration are. */

import { checkEdge, type EdgeSettings } from './edge/edge-settings.ts';
import { loadEdge } from './edge/load-edge.ts';
import type { Problem } from './schema.ts';

/**
 * Gives, for a stream, everything that is wrong with its function.
 *
 * @param own - functions of the configuration, beside which those from afar are to run.
 */
export async function remoteEdgeMistakes(
  edge: Readonly<Record<string, string>> = {},
  own: EdgeSettings = {},
): Promise<(stream: string) => readonly string[]> {
  const found = new Map<string, readonly string[]>();
  for (const [stream, text] of Object.entries(edge)) {
    const problems: Problem[] = [];
    // Whether the device has the profile is judged elsewhere.
    await checkEdge({ [stream]: text }, [stream.split('/', 1)[0]!], problems);
    found.set(
      stream,
      problems.map((problem) => problem.replace(`edge.${stream}: `, '')),
    );
  }
  const right = Object.entries(edge).filter(([stream]) => found.get(stream)!.length === 0);
  if (right.length > 0) {
    const { takenNames } = await loadEdge();
    const all = { ...own, ...Object.fromEntries(right.map(([of, text]) => [of, { text }])) };
    for (const [of, name] of takenNames(all)) {
      found.set(of, [`its result ${name} has the name of another stream`]);
    }
  }
  return (stream) => found.get(stream) ?? [];
}
