/**
 * What the nodes share within a process: the batches behind handles, who acknowledges them, and the settings of the
 * installation (docs/decisions/005-windows-and-acknowledgements.md).
 *
 * It hangs on `globalThis`: in the packed nodes every node is a bundle with its own copy of every module.
 */
import type { AnalyticsError } from '@fieldproof/analytics/errors';
import type { ReadingTable } from '@fieldproof/compute/readings';
import type { Interval } from '@fieldproof/protocol/interval-set';

/** The payload of a message that carries readings: cheap to clone. The batch is in the hub. */
export interface Handle {
  readonly type: 'fieldproof/readings';
  readonly id: string;
  readonly readings: number;
  /** Entries of the evidence log that it covers, `toIndex` excluded; 0 and 0 for windows. */
  readonly fromIndex: number;
  readonly toIndex: number;
}

/** A batch as its consumers see it. */
export interface SharedBatch {
  /** Which sequence of entries the indexes belong to: the evidence log's own id, or that of a window node. */
  readonly stream: string;
  /** Another one when the log is read anew because it had gone back. */
  readonly generation?: string;
  readonly tables: readonly ReadingTable[];
  /** For each table the index of its entry; undefined where there are no entries behind it. */
  readonly entryIndexes: readonly number[] | undefined;
  readonly settled: readonly Interval[];
  /** The broker's time of the newest entry, Unix ms. */
  readonly atMs: number;
  /** Claims the batch; false: the consumer need not do anything. */
  readonly take: (consumer: string) => boolean;
  readonly acknowledge: (consumer: string) => void;
  readonly letGo: (consumer: string) => void;
}

/** Messages of single readings say which batch they are of; see {@link claim}. */
export interface Origin {
  /** The broker's time of the newest entry, Unix ms. */
  readonly atMs: number;
  /** Counts one more message that is being put away. */
  readonly claim: () => void;
  /** One is put away (or, with false, cannot be). */
  readonly release: (stored: boolean) => void;
}

/** Where things are in this installation; what a network node leaves empty is taken from here. */
export interface Installation {
  dataDir: string | undefined;
  brokerUrl: string | undefined;
  tailTokenFile: string | undefined;
  storeUrl: string | undefined;
  storeTokenFile: string | undefined;
  influxUrl: string | undefined;
  influxDatabase: string | undefined;
  /** See FlowsConfig. */
  maxUnstoredRows: number | undefined;
  maxWaitingReadings: number | undefined;
}

export interface Hub {
  readonly installation: Installation;
  readonly batches: Map<string, SharedBatch>;
  readonly origins: Map<string, Origin>;
  /** Called when a consumer ends: what it held is sent again. */
  readonly forget: Set<(consumer: string) => void>;
  /** Things that outlive their nodes for a moment, by node id, with how to end them. */
  readonly services: Map<string, Service>;
  /** Why consumers cannot put away what they hold, by node id. */
  readonly problems: Map<string, AnalyticsError>;
}

export interface Service {
  stop(): Promise<void>;
  /** Reads the evidence from its beginning again; false when that is not certain yet. */
  rewind(): Promise<boolean>;
}

const KEY = Symbol.for('fieldproof.flows.hub');

/** The one hub of this process. */
export function hub(): Hub {
  const holder = globalThis as { [KEY]?: Hub };
  holder[KEY] ??= {
    installation: {
      dataDir: undefined,
      brokerUrl: undefined,
      tailTokenFile: undefined,
      storeUrl: undefined,
      storeTokenFile: undefined,
      influxUrl: undefined,
      influxDatabase: undefined,
      maxUnstoredRows: undefined,
      maxWaitingReadings: undefined,
    },
    batches: new Map(),
    origins: new Map(),
    forget: new Set(),
    services: new Map(),
    problems: new Map(),
  };
  return holder[KEY];
}

export function isHandle(payload: unknown): payload is Handle {
  if (typeof payload !== 'object' || payload === null) return false;
  const { type, id } = payload as { type?: unknown; id?: unknown };
  return type === 'fieldproof/readings' && typeof id === 'string';
}

/** Ends everything that nodes left running; state is durable then. */
export async function stopServices(): Promise<void> {
  const { services } = hub();
  await Promise.all([...services.values()].map((service) => service.stop()));
  services.clear();
}

/** Tells every source of batches that a consumer holds nothing any more. */
export function forgetConsumer(consumer: string): void {
  for (const forget of hub().forget) forget(consumer);
}
