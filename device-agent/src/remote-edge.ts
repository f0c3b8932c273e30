/** Mistakes in edge functions that come from afar, found as those of the configuration are. */

import { checkEdge } from './edge/edge-settings.ts';
import type { Problem } from './schema.ts';

/** Gives, for a stream, everything that is wrong with its function. */
export async function remoteEdgeMistakes(
  edge: Readonly<Record<string, string>> = {},
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
  return (stream) => found.get(stream) ?? [];
}
