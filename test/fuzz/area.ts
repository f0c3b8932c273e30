/** What a kind of cases looks like to the runner. */

import type { Chance } from './chance.ts';
import type { Found } from './finding.ts';

export const AREAS = ['packets', 'envelopes', 'connects', 'http', 'websocket', 'plain'] as const;
export type AreaName = (typeof AREAS)[number];

export interface Area {
  readonly name: AreaName;
  /** Of about a thousand cases, when no area is asked for alone; what costs more has less of them. */
  readonly share: number;
  /** Cases that may run at the same time. */
  readonly width: number;
  /** One case; throws a Finding, or anything else, which is one as well. */
  run(number: number, chance: Chance): void | Promise<void>;
  /** Looks at what only shows after several cases. */
  settle?(): Promise<readonly Found[]>;
  close?(): Promise<void>;
}
