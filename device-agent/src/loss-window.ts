/** What a power cut, and the death of the process, can cost at most by the settings. Pure. */

import type { AgentSettings } from './config.ts';
import type { EdgeSettings } from './edge/edge-settings.ts';

export interface LossWindow {
  /** Of what the network does not have yet, the last so many ms. */
  readonly powerCutMs: number;
  readonly crashMs: number;
  /** What the network has is never lost; without a front nothing is sent before it is durable. */
  readonly hasFront: boolean;
  /** The last so many ms of streams with edge functions; null where there are none. */
  readonly edgePowerCutMs: number | null;
}

/** After a start the streams of edge functions wait so long for the clock, before they begin anew without it. */
export const EDGE_HOLD_MS = 60_000;

/** @param hasFront - whether the outbox has a memory-backed front. */
export function lossWindow(
  {
    batch,
    outbox,
    raw,
    edge,
  }: Pick<AgentSettings, 'batch' | 'outbox' | 'raw'> & {
    readonly edge: EdgeSettings;
  },
  hasFront: boolean,
): LossWindow {
  const syncMs = outbox.fsync === 'always' ? 0 : outbox.fsyncEveryMs;
  const powerCutMs = batch.sealEveryMs + (hasFront ? outbox.spillAfterMs : syncMs);
  // Raw readings are durable with their result, which goes the way of every envelope from then on.
  const edgePowerCutMs = Math.max(batch.sealEveryMs + raw.resultEveryMs, powerCutMs);
  return {
    powerCutMs,
    crashMs: batch.sealEveryMs,
    hasFront,
    edgePowerCutMs: Object.keys(edge).length === 0 ? null : edgePowerCutMs,
  };
}

/** As `status` and `doctor` say it. */
export function formatLossWindow(window: LossWindow): string {
  const { powerCutMs, crashMs, hasFront, edgePowerCutMs } = window;
  const seconds = (ms: number): string => `${Math.ceil(ms / 1000)} s`;
  const what = hasFront ? ' of what the network does not have' : '';
  const edge =
    typeof edgePowerCutMs === 'number'
      ? `; of streams with edge functions by a power cut the last ${seconds(edgePowerCutMs)}, by any restart the open windows unless the clock is confirmed within ${seconds(EDGE_HOLD_MS)}`
      : '';
  return `by a power cut the last ${seconds(powerCutMs)}${what}, by a crash ${seconds(crashMs)}${edge}`;
}
