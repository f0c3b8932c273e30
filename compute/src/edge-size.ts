/**
 * How much a definition may hold in memory and give at once, before any of it is run (docs/spec/edge-functions.md 2.5
 * and 2.6). Definitions come from configurations, operators and devices: a few words can ask for gigabytes.
 */

import type { EdgeDefinition } from './edge-definition.ts';
import { MAX_RESULTS_OF_INSTANT } from './edge-function.ts';

/** Results with different names that one definition may give. */
export const MAX_OUTPUTS = 64;
/** What all functions of a definition may hold together, in the units of 2.5: some 16 MB at most. */
export const MAX_HELD = 400_000;

/** What is too much about a definition, for people; undefined when nothing is. */
export function excessOf(
  definition: EdgeDefinition,
): { readonly got: string; readonly expected: string } | undefined {
  let instances = 1;
  let held = 0;
  for (const { type, params } of definition) {
    held += instances * (type.holds?.(params) ?? 1);
    // At once, since eight functions with sixteen fields each have four thousand million results.
    instances *= type.fields(params).length;
    if (instances > MAX_OUTPUTS) {
      return { got: `${instances} results`, expected: `at most ${MAX_OUTPUTS} results` };
    }
  }
  if (held <= MAX_HELD) return undefined;
  return {
    got: `functions that hold ${held} numbers`,
    expected: `functions that hold at most ${MAX_HELD} numbers (fewer steps, quantiles, points or fields)`,
  };
}

/** How many results one instant can give at most: the windows that end at once, or what `order` lets go at once. */
export function mostResultsOf(definition: EdgeDefinition): number {
  let most = 1;
  for (const { type, params } of definition) {
    // A function gives something for each instant that it takes, and for the time that is said behind them.
    const { times, hasEnd } = type.bursts?.(params) ?? { times: 1, hasEnd: false };
    most = (most + (hasEnd ? 1 : 0)) * times * type.fields(params).length;
    if (most >= MAX_RESULTS_OF_INSTANT) return MAX_RESULTS_OF_INSTANT;
  }
  return most;
}
