/**
 * What the control server is told by others: the broker about devices, the projector about its lag.
 *
 * Each of them may be absent or down; the API then answers with what the store knows and says so.
 */

/** A metric as the device's birth declares it (docs/spec/messages.md section 1). */
export interface DeclaredMetric {
  readonly metric: string;
  /** SenML unit. */
  readonly unit?: string;
}

/** A device as the broker's registry knows it. Everything but the id may be missing. */
export interface DirectoryEntry {
  readonly device: string;
  readonly name?: string;
  readonly owner?: string;
  readonly group?: string;
  readonly cell?: string;
  readonly online?: boolean;
  /** Unix ms of the last envelope that the broker took from it. */
  readonly lastSeenMs?: number;
  /** Profiles of the newest birth: units come from here. */
  readonly profiles?: Readonly<Record<string, readonly DeclaredMetric[]>>;
}

/**
 * What the newest birth of a device declared, for a process that tails the evidence; asked where the
 * registry does not say it.
 */
export type DeclaredProfiles = (
  device: string,
) => Readonly<Record<string, readonly DeclaredMetric[]>> | undefined;

/** An answer of the broker, or why there is none. */
export type BrokerAnswer<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly detail: string };

/** The registry, read through the broker's admin API. Never throws. */
export interface DeviceDirectory {
  devices(): Promise<BrokerAnswer<readonly DirectoryEntry[]>>;
}

/** The broker's own account of itself, passed through as it is. Never throws. */
export interface BrokerStatus {
  status(): Promise<BrokerAnswer<Readonly<Record<string, unknown>>>>;
}

/** What keeps something from going on, and what to do. */
export interface ProblemReport {
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
}

/** How far the projection into the store has come. */
export interface ProjectionStatus {
  /** Index of the first evidence entry that is not yet in the store. */
  readonly nextIndex: number;
  /** Entries in the evidence log, as last heard. */
  readonly evidenceSize: number;
  /** Age of the oldest entry that is not yet in the store; 0 when there is none. */
  readonly lagMs: number;
  /** Which projection it is, where several report the one that is furthest behind. */
  readonly name?: string;
  /** When it said so, Unix ms. */
  readonly reportedMs?: number;
  /** What keeps it from going on; null for nothing. */
  readonly problem?: ProblemReport | null;
}

/**
 * The lag, or null while nobody knows it.
 *
 * @param evidenceSize - entries in the log as the broker has just said; null while it does not answer.
 */
export type ProjectionStatusProvider = (evidenceSize: number | null) => ProjectionStatus | null;
