/**
 * The registry of edge functions: word of the configuration and id of results → function.
 *
 * A new function is a row here, a section in docs/spec/edge-functions.md and a test.
 */

import { anomaly } from './edge-anomaly.ts';
import { bands } from './edge-bands.ts';
import { deadband } from './edge-deadband.ts';
import type { EdgeFunctionType } from './edge-function.ts';
import { order } from './edge-order.ts';
import { rate } from './edge-rate.ts';
import { threshold } from './edge-threshold.ts';
import { window } from './edge-window.ts';

/** A row whose parameters are checked values of its own kinds, whatever they are. */
export type AnyEdgeFunction = EdgeFunctionType;

const ROWS = [
  order,
  window,
  deadband,
  threshold,
  rate,
  bands,
  anomaly,
] as unknown as readonly AnyEdgeFunction[];

const BY_WORD: ReadonlyMap<string, AnyEdgeFunction> = new Map(ROWS.map((row) => [row.word, row]));
const BY_ID: ReadonlyMap<string, AnyEdgeFunction> = new Map(ROWS.map((row) => [row.id, row]));

/** Words in the order of the specification. */
export const EDGE_WORDS: readonly string[] = ROWS.map(({ word }) => word);

/** The function that the configuration calls `word`. */
export function edgeFunctionByWord(word: string): AnyEdgeFunction | undefined {
  return BY_WORD.get(word);
}

/** The function that results call `id`. */
export function edgeFunctionById(id: string): AnyEdgeFunction | undefined {
  return BY_ID.get(id);
}
