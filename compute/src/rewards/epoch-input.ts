/** What an epoch is judged from: devices as the registry knows them, and the readings of their wanted streams. */

import type { DensityLevel } from './density.ts';
import type { QualityRules } from './quality-rules.ts';
import type { StreamReadings } from './stream-quality.ts';

/** Time is cut into epochs, and these into slots. */
export interface EpochTime {
  /** Unix ms at which the epoch begins. */
  readonly startMs: number;
  readonly slotMs: number;
  readonly slots: number;
}

/** The terms of the telemetry pool. docs/spec/rewards.md section 1. */
export interface TelemetryPolicy {
  readonly pool: bigint;
  readonly fullPoints: bigint;
  readonly fillPpm: number;
  readonly density: {
    /** A cell is occupied with so much of a level's target. */
    readonly occupiedPpm: number;
    readonly levels: readonly DensityLevel[];
  } | null;
  readonly relocation: { readonly freezeEpochs: number; readonly rampEpochs: number } | null;
  readonly lonePpm: number;
  readonly caps: { readonly devicePpm: number; readonly ownerPpm: number };
}

/** Time that an edge result covers: so many raw readings, evenly spread. Unix µs, both ends included. */
export interface Cover {
  readonly firstUs: number;
  readonly lastUs: number;
  readonly count: number;
}

export interface EpochStream {
  /** `<profile>/<metric>` */
  readonly metric: string;
  readonly weight: number;
  readonly cadenceMs: number;
  readonly resolution: number;
  readonly rules: QualityRules;
  /** In any order; those that the rules look back to are among them. */
  readonly readings: StreamReadings;
  readonly covers: readonly Cover[];
}

/** Readings of the epoch that have no part in it, by what was wrong. */
export interface LeftOut {
  readonly unanchored: number;
  readonly source: number;
  readonly unwanted: number;
}

export interface EpochDevice {
  /** 32 bytes of the key in its id, lower-case hex. */
  readonly device: string;
  /** 32 bytes, lower-case hex. */
  readonly owner: string;
  /** H3 index, empty where it has none. */
  readonly cell: string;
  /** Index of its first `enrol` entry. */
  readonly enrolled: number;
  /** Whole epochs since the one in which it last moved; undefined where it never did. */
  readonly movedEpochsAgo: number | undefined;
  /** By slot: 1 where it counts (enrolled, and not barred). */
  readonly counts: Uint8Array;
  /** Its wanted streams, each once. */
  readonly streams: readonly EpochStream[];
  readonly leftOut: LeftOut;
}
