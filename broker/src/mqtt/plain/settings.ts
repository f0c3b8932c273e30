/** Settings of the plain profile: their defaults and domains. The table in broker/README.md is the manual. */

import { isLoopback } from '../../loopback.ts';

export interface PlainSettings {
  /** Listener of the plain profile; -1: none. */
  readonly plainPort: number;
  readonly plainHost: string;
  /** Who may use that listener. Off loopback it is `token`, whatever is said here. */
  readonly plainAuth: 'anonymous' | 'token';
  /** Filters that are refused, with the topics that they match. */
  readonly plainDenied: readonly string[];
  readonly plainMaxSessions: number;
  /** Of one access token's name; the anonymous may have all. */
  readonly plainMaxSessionsPerUser: number;
  /** How long a session may be offline. */
  readonly plainSessionExpiryMs: number;
  /** Subscriptions of one session. */
  readonly plainMaxSubscriptions: number;
  readonly plainMaxSubscriptionBytes: number;
  /** Of all sessions. */
  readonly plainMaxSubscriptionTotalBytes: number;
  readonly plainMaxTopicLevels: number;
  readonly plainMaxTopicBytes: number;
  readonly plainMaxPacketBytes: number;
  readonly plainMaxRetained: number;
  readonly plainMaxRetainedBytes: number;
  /** Messages that wait for one session: offline, or behind its window. */
  readonly plainMaxQueued: number;
  readonly plainMaxQueuedBytes: number;
  /** How long a message may wait. */
  readonly plainMaxQueuedMs: number;
  /** Bytes that wait for all sessions together. */
  readonly plainMaxQueuedTotalBytes: number;
  /** Bytes that all clients together were sent and have not taken. */
  readonly plainMaxUnsentTotalBytes: number;
  /** Messages of QoS 1 and 2 on their way to one client; further ones wait. */
  readonly plainMaxInFlight: number;
  /** Packets of one client; ten times as much in a burst; 0 lifts the limit. */
  readonly plainPacketsPerSecond: number;
}

/** What `--plain` takes when no port is named. */
export const PLAIN_PORT = 7888;

export const PLAIN_DEFAULTS: PlainSettings = {
  plainPort: -1,
  plainHost: '127.0.0.1',
  plainAuth: 'anonymous',
  plainDenied: [],
  plainMaxSessions: 1000,
  plainMaxSessionsPerUser: 200,
  plainSessionExpiryMs: 7 * 86_400_000,
  plainMaxSubscriptions: 100,
  plainMaxSubscriptionBytes: 512 * 1024,
  plainMaxSubscriptionTotalBytes: 128 * 1024 * 1024,
  plainMaxTopicLevels: 100,
  plainMaxTopicBytes: 65_535,
  plainMaxPacketBytes: 262_144,
  plainMaxRetained: 5000,
  plainMaxRetainedBytes: 16 * 1024 * 1024,
  plainMaxQueued: 10_000,
  plainMaxQueuedBytes: 4 * 1024 * 1024,
  plainMaxQueuedMs: 86_400_000,
  plainMaxQueuedTotalBytes: 64 * 1024 * 1024,
  plainMaxUnsentTotalBytes: 64 * 1024 * 1024,
  plainMaxInFlight: 100,
  plainPacketsPerSecond: 2000,
};

/** Least and greatest values of the numbers. */
export const PLAIN_RANGES: Readonly<Record<string, readonly [number, number]>> = {
  plainPort: [-1, 65_535],
  plainMaxSessions: [1, 1_000_000],
  plainMaxSessionsPerUser: [1, 1_000_000],
  plainSessionExpiryMs: [1000, 366 * 86_400_000],
  plainMaxSubscriptions: [1, 100_000],
  plainMaxSubscriptionBytes: [1024, 2 ** 32],
  plainMaxSubscriptionTotalBytes: [1024, 2 ** 34],
  plainMaxTopicLevels: [1, 1000],
  plainMaxTopicBytes: [16, 65_535],
  plainMaxPacketBytes: [1024, 16 * 1024 * 1024],
  plainMaxRetained: [0, 1_000_000],
  plainMaxRetainedBytes: [0, 2 ** 32],
  plainMaxQueued: [1, 1_000_000],
  plainMaxQueuedBytes: [1024, 2 ** 32],
  plainMaxQueuedMs: [1000, 366 * 86_400_000],
  plainMaxQueuedTotalBytes: [1024, 2 ** 34],
  plainMaxUnsentTotalBytes: [1024, 2 ** 34],
  plainMaxInFlight: [1, 65_535],
  plainPacketsPerSecond: [0, 1_000_000],
};

/** Whether the listener of the plain profile asks nobody who they are: on loopback only. */
export function isPlainAnonymous({ plainAuth, plainHost }: PlainSettings): boolean {
  return plainAuth === 'anonymous' && isLoopback(plainHost);
}
