/** What a power cut, and the death of the process, can cost at most by the settings. Pure. */

import type { AgentSettings } from './config.ts';

export interface LossWindow {
  /** Of what the network does not have yet, the last so many ms. */
  readonly powerCutMs: number;
  readonly crashMs: number;
  /** What the network has is never lost; without a front nothing is sent before it is durable. */
  readonly hasFront: boolean;
}

/** @param hasFront - whether the outbox has a memory-backed front. */
export function lossWindow(
  { batch, outbox }: Pick<AgentSettings, 'batch' | 'outbox'>,
  hasFront: boolean,
): LossWindow {
  const syncMs = outbox.fsync === 'always' ? 0 : outbox.fsyncEveryMs;
  return {
    powerCutMs: batch.sealEveryMs + (hasFront ? outbox.spillAfterMs : syncMs),
    crashMs: batch.sealEveryMs,
    hasFront,
  };
}

/** As `status` and `doctor` say it. */
export function formatLossWindow({ powerCutMs, crashMs, hasFront }: LossWindow): string {
  const seconds = (ms: number): string => `${Math.ceil(ms / 1000)} s`;
  const what = hasFront ? ' of what the network does not have' : '';
  return `by a power cut the last ${seconds(powerCutMs)}${what}, by a crash ${seconds(crashMs)}`;
}
