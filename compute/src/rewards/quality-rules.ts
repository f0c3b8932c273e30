/** What a quality profile may ask for, and the reasons that its checks give. docs/spec/rewards.md section 5. */

/** In the order in which one goes before another. */
export const BAD_REASONS = ['CONFLICT', 'BOUNDS', 'JUMP', 'STUCK', 'DUPLICATE', 'BUDDIES'] as const;

export type BadReason = (typeof BAD_REASONS)[number];

type Range = readonly [min: number, max: number];

/** Limits are in the metric's unit, times in ms. */
export interface QualityRules {
  readonly bounds?: Range;
  readonly jump?: { readonly limit: number; readonly withinMs: number };
  readonly stuck?: {
    readonly afterMs: number;
    readonly readings: number;
    readonly except?: readonly Range[];
  };
  readonly duplicate?: {
    readonly readings: number;
    readonly values: number;
    /** Prints that two devices must share in an epoch. */
    readonly slots: number;
  };
  readonly buddies?: {
    /** Of the H3 cell in which others are buddies. */
    readonly resolution: number;
    readonly owners: number;
    readonly spread: number;
    readonly timesMad: number;
  };
}

/** How long before a slot readings still have a part in judging it, ms. */
export function lookBackMs({ jump, stuck }: QualityRules): number {
  return Math.max(jump?.withinMs ?? 0, stuck?.afterMs ?? 0);
}
