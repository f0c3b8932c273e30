/** What an agent is made with. */

import type { Boot } from './boot.ts';
import type { Clock } from './clock.ts';
import type { AgentConfig } from './config.ts';
import type { Disk } from './disk.ts';
import type { Log } from './log.ts';
import type { NetworkView } from './network-view.ts';
import type { loadSensorDriver } from './sensors/drivers.ts';
import type { AgentStatus } from './status.ts';
import type { WriteMeter } from './write-meter.ts';

export interface AgentOptions {
  readonly config: AgentConfig;
  /** Folder with the device key and the join line, as `initAgent` makes it. */
  readonly dataDir: string;
  readonly clock?: Clock;
  readonly log?: Log;
  /** Gives that many random bytes. */
  readonly random?: (length: number) => Uint8Array;
  /** Root of the file system that the sensors read, `/` but in tests. */
  readonly root?: string;
  /** Where sensor drivers come from by name; tests pass sensors of their own. */
  readonly loadDriver?: typeof loadSensorDriver;
  /** Called after every change that a person would want to see. */
  readonly onStatus?: (status: AgentStatus) => void;
  /** It had to start anew, and could not: it does nothing any more. */
  readonly onFailed?: (error: unknown) => void;
  /** Whether to write status.json; default true. */
  readonly statusFile?: boolean;
  /** Where all that the agent keeps lies; tests pass one that fails. */
  readonly disk?: Disk;
}

type Optional = 'onStatus' | 'onFailed';

/** With what a caller has left out. */
export type FullAgentOptions = Required<Omit<AgentOptions, Optional>> &
  Pick<AgentOptions, Optional>;

/** What one boot of an agent is made with: the options, and what lasts over its boots. */
export interface RunOptions extends Omit<FullAgentOptions, 'onFailed'> {
  readonly meter: WriteMeter;
  readonly view: NetworkView;
  /** Monotonic ms of the agent's first start. */
  readonly startMs: number;
  /** Readings of each profile since then. */
  readonly given: Map<string, number>;
  /** Boots of which nothing was recorded: what waits of them is sealed anew. */
  readonly refused: readonly Boot[];
  /** A boot with another key or id is to begin. */
  readonly onRestart: (why: string) => void;
  /** The network knows another boot of this count. @returns whether another boot begins. */
  readonly onBootRefused: (boot: Boot) => boolean;
}
