/** What the plain profile says of itself: in the status, the metrics and under `$SYS`. */

export interface PlainStatus {
  /** Connected or kept. */
  readonly sessions: number;
  readonly online: number;
  readonly subscriptions: number;
  readonly subscriptionBytes: number;
  readonly retained: number;
  readonly retainedBytes: number;
  /** On their way to clients, or waiting for them. */
  readonly queued: number;
  readonly queuedBytes: number;
  /** What clients were sent and have not taken. */
  readonly unsentBytes: number;
  /** Connections that are not read because they have used up their rate. */
  readonly overRate: number;
  /** PUBLISH packets taken in, and sent on. */
  readonly received: number;
  readonly delivered: number;
  /** What was refused or dropped, by code. */
  readonly refused: Readonly<Record<string, number>>;
}
