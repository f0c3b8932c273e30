/** Runs cases by number: which area a case belongs to and what it does follow from the seed alone. */

import type { Area } from './area.ts';
import { chanceOf } from './chance.ts';
import { Finding, type Found } from './finding.ts';
import { within } from './patience.ts';

export interface RunOptions {
  readonly seed: number;
  /** First case. */
  readonly from: number;
  readonly cases: number;
  readonly areas: readonly Area[];
  /** Ends the run early, with what was found. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: RunReport) => void;
  /** Ends at so many findings. */
  readonly maxFindings?: number;
  /** A case that takes longer never ends. */
  readonly caseLimitMs?: number;
}

export interface RunReport {
  readonly cases: number;
  readonly byArea: Readonly<Record<string, number>>;
  readonly found: readonly Found[];
}

/** Cases between two looks at what is settled. */
const BATCH = 64;

/** Runs them all, or until there are enough findings. */
export async function runCases(options: RunOptions): Promise<RunReport> {
  const { seed, from, cases, areas, signal, maxFindings = 1 } = options;
  const found: Found[] = [];
  const byArea: Record<string, number> = {};
  let done = 0;
  const report = (): RunReport => ({ cases: done, byArea: { ...byArea }, found });
  while (done < cases && found.length < maxFindings && signal?.aborted !== true) {
    const count = Math.min(BATCH, cases - done);
    const queues = new Map<Area, number[]>();
    for (let i = 0; i < count; i++) {
      const number = from + done + i;
      const area = areaOf(areas, seed, number);
      queues.set(area, [...(queues.get(area) ?? []), number]);
      byArea[area.name] = (byArea[area.name] ?? 0) + 1;
    }
    await Promise.all([...queues].map(([area, queue]) => runQueue(area, queue, options, found)));
    for (const area of queues.keys()) found.push(...((await area.settle?.()) ?? []));
    done += count;
    options.onProgress?.(report());
  }
  return report();
}

/** The area of a case. */
function areaOf(areas: readonly Area[], seed: number, number: number): Area {
  if (areas.length === 1) return areas[0]!;
  const total = areas.reduce((sum, { share }) => sum + share, 0);
  let at = chanceOf(seed, 'area', number).next() * total;
  for (const area of areas) {
    at -= area.share;
    if (at < 0) return area;
  }
  return areas.at(-1)!;
}

async function runQueue(
  area: Area,
  queue: readonly number[],
  { seed, caseLimitMs = 60_000 }: RunOptions,
  found: Found[],
): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < queue.length) {
      const number = queue[next++]!;
      try {
        const running = area.run(number, chanceOf(seed, area.name, number));
        const message = `does not end within ${caseLimitMs} ms`;
        if (running !== undefined) await within(running, caseLimitMs, message);
      } catch (error) {
        found.push({ area: area.name, number, ...describe(error) });
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(area.width, queue.length) }, lane));
}

function describe(error: unknown): { readonly message: string; readonly input: string } {
  if (error instanceof Finding) return { message: error.message, input: error.input };
  return { message: `threw ${(error as Error).stack ?? String(error)}`, input: '' };
}
