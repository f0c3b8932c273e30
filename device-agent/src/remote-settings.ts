/**
 * What the owner lets an operator change from afar: the key `remote` of agent.yaml. docs/spec/remote-config.md section 2.
 *
 * Whatever these say, a desired state never brings a driver, a program, a file or an address: there is no member for it.
 */

import { HEARTBEAT_LIMITS, INTERVAL_LIMITS, SEAL_LIMITS } from '@fieldproof/protocol/desired-state';
import { type Check, flag, integer, oneOf, section } from './schema.ts';

export interface RemoteSettings {
  /** false: nothing is taken, and what is in force ends. */
  readonly allow: boolean;
  /** Shortest and longest interval that may be asked for, ms; the file's own is always allowed. */
  readonly minIntervalMs: number;
  readonly maxIntervalMs: number;
  /** The same for `batch.sealEveryMs`, which is also what a power cut may take, and `link.heartbeatMs`. */
  readonly minSealEveryMs: number;
  readonly maxSealEveryMs: number;
  readonly minHeartbeatMs: number;
  /** `add`: for streams that have no definition in the file; `replace`: for all; `refuse`: none. */
  readonly edge: 'add' | 'replace' | 'refuse';
  /** How long after three intervals a sensor may take for its first reading before a change is taken back. */
  readonly graceMs: number;
}

/** The check of the key. */
export const REMOTE_SETTINGS: Check<RemoteSettings> = section<RemoteSettings>({
  allow: flag(true),
  minIntervalMs: integer({ ...INTERVAL_LIMITS, byDefault: 1000 }),
  maxIntervalMs: integer({ ...INTERVAL_LIMITS, byDefault: INTERVAL_LIMITS.max }),
  minSealEveryMs: integer({ ...SEAL_LIMITS, byDefault: 1000 }),
  maxSealEveryMs: integer({ ...SEAL_LIMITS, byDefault: 60_000 }),
  minHeartbeatMs: integer({ ...HEARTBEAT_LIMITS, byDefault: 10_000 }),
  edge: oneOf(['add', 'replace', 'refuse'], 'add'),
  graceMs: integer({ min: 100, max: 3_600_000, byDefault: 35_000 }),
});
