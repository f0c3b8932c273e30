/** The trend of a noisy series: the median of the slopes between all pairs of samples (Theil–Sen), which steps and spikes hardly move. */

import { median } from './result.ts';

export interface Sample {
  /** Seconds. */
  readonly at: number;
  readonly value: number;
}

/** Units per second; 0 for fewer than two samples. */
export function slopeOf(samples: readonly Sample[]): number {
  const slopes: number[] = [];
  for (let i = 0; i < samples.length; i++) {
    for (let j = i + 1; j < samples.length; j++) {
      const [a, b] = [samples[i]!, samples[j]!];
      if (b.at !== a.at) slopes.push((b.value - a.value) / (b.at - a.at));
    }
  }
  return slopes.length === 0 ? 0 : median(slopes);
}
