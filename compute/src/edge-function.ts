/**
 * What an edge function is: instants of one number go in, results come out, as pure steps with bounded memory
 * (docs/spec/edge-functions.md sections 1 and 2).
 *
 * Functions use only + − × ÷ √ and constant tables, so that a device and its auditor get the same bits. They read no
 * clock. Whoever calls them (`edge-pipeline.ts`) gives strictly ascending times and numbers within `MAX_MAGNITUDE`.
 */

import type { CborValue } from '@fieldproof/protocol/cbor';
import type { ParamShape, ParamsOf } from './edge-param.ts';

/** Larger numbers are no measurements; below it nothing here can overflow to an infinity. */
export const MAX_MAGNITUDE = 1e100;
/** Times in µs lie within this, so that sums and differences of any two are exact. */
export const MAX_TIME_US = 4_503_599_627_370_496; // 2^52
/** More results of one instant are left out and counted, so that what one instant gives fits into a message. */
export const MAX_RESULTS_OF_INSTANT = 1500;

/** Takes a result: the index of its field, its time in µs, a finite number. */
export type Emit = (field: number, timeUs: number, value: number) => void;

/** One running function on one stream. */
export interface EdgeFunction {
  /**
   * Says that no instant before `timeUs` will come any more.
   *
   * @returns the time before which this function will give no result any more.
   */
  advance(timeUs: number, emit: Emit): number;
  /** Takes an instant. `advance` to the same time has come before. */
  push(timeUs: number, value: number, emit: Emit): void;
  /** All that it remembers, for `create` to go on from. */
  save(): CborValue;
}

/** Parameters that exclude each other: which one, and what was expected of it. */
export interface ParamConflict {
  readonly param: string;
  readonly expected: string;
}

/** A kind of function: a row of the registry (`edge-functions.ts`). */
export interface EdgeFunctionType<S extends ParamShape = ParamShape> {
  /** Word and version, as results carry it. Another result for any input needs another version. */
  readonly id: string;
  /** How the configuration calls it. */
  readonly word: string;
  readonly params: S;
  /** A conflict between parameters that are each valid. */
  check?(params: ParamsOf<S>): ParamConflict | undefined;
  /** One name for each field of its results; empty where the result takes the place of its input. */
  fields(params: ParamsOf<S>): readonly string[];
  /** SenML units of the fields, for an input in `unit`; empty for none. */
  units(params: ParamsOf<S>, unit: string): readonly string[];
  /** What one holds at most, in the units of docs/spec/edge-functions.md 2.5; absent for 1. */
  holds?(params: ParamsOf<S>): number;
  /** How many times it can give all its fields for one instant, and whether the end of them counts as one more; absent for once. */
  bursts?(params: ParamsOf<S>): { readonly times: number; readonly hasEnd: boolean };
  /** A function at its beginning, or as `save` left it. @throws {ComputeError} ERR_EDGE_STATE */
  create(params: ParamsOf<S>, state?: CborValue): EdgeFunction;
}

/** Gives a row its types. */
export function edgeFunctionType<const S extends ParamShape>(
  type: EdgeFunctionType<S>,
): EdgeFunctionType<S> {
  return type;
}
