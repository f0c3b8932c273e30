/**
 * Counters over MQTT, for flows and dashboards without Prometheus: what is published to which topic, and when. Pure;
 * docs/spec/messages.md section 8.
 */

import type { CounterValues } from '../gate/counters.ts';
import type { DeviceCounts } from './device-counts.ts';

export interface SystemSnapshot {
  readonly verdicts: CounterValues;
  readonly evidence: {
    readonly entries: number;
    readonly published: number;
    readonly pendingBytes: number;
    readonly writable: boolean;
    /** A code, or null. */
    readonly problem: string | null;
  };
  readonly mqtt: {
    readonly connections: number;
    readonly sessions: number;
    readonly paused: number;
    readonly pendingBytes: number;
    readonly refused: Readonly<Record<string, number>>;
  };
  readonly devices: {
    /** Enrolled, by standing. */
    readonly good: number;
    readonly expired: number;
    readonly suspended: number;
    readonly unenrolled: number;
    readonly online: number;
    /** Told to be offline. */
    readonly away: number;
    readonly quarantinedBoots: number;
  };
}

export interface SystemMessage {
  readonly topic: string;
  readonly payload: string;
}

/** What is counted where. */
export interface SystemSources {
  readonly counters: { readonly values: () => CounterValues };
  readonly evidence: {
    readonly size: number;
    readonly pendingBytes: number;
    readonly isRefusing: boolean;
    readonly problem: { readonly code: string } | null;
    readonly checkpoint: { readonly size: number } | null;
  };
  readonly mqtt: { readonly status: () => SystemSnapshot['mqtt'] };
  readonly deviceCounts: () => DeviceCounts;
  readonly quarantine: { readonly count: number };
  readonly outages: { readonly count: number };
}

const SUBJECTS = ['verdicts', 'evidence', 'mqtt', 'devices'] as const;

export class SystemTopics {
  readonly #network: string;
  readonly #published = new Map<string, string>();

  constructor(network: string) {
    this.#network = network;
  }

  /** What to publish, retained, now: all subjects the first time, then those that have changed. */
  changes(snapshot: SystemSnapshot, at: number): readonly SystemMessage[] {
    return SUBJECTS.flatMap((subject) => {
      const values = snapshot[subject];
      const text = JSON.stringify(values);
      if (this.#published.get(subject) === text) return [];
      this.#published.set(subject, text);
      const topic = `$SYS/fieldproof/${this.#network}/${subject}`;
      return [{ topic, payload: JSON.stringify({ at, ...values }) }];
    });
  }
}

/** Takes the counts of now. */
export function systemSnapshot(sources: SystemSources): SystemSnapshot {
  const { counters, evidence, mqtt, deviceCounts, quarantine, outages } = sources;
  const { connections, sessions, paused, pendingBytes, refused } = mqtt.status();
  const { standings, online } = deviceCounts();
  return {
    verdicts: counters.values(),
    evidence: {
      entries: evidence.size,
      published: evidence.checkpoint?.size ?? 0,
      pendingBytes: evidence.pendingBytes,
      // As in the metrics: not for a moment between two attempts at a full disk.
      writable: !evidence.isRefusing && evidence.problem === null,
      problem: evidence.problem?.code ?? null,
    },
    mqtt: { connections, sessions, paused, pendingBytes, refused },
    devices: { ...standings, online, away: outages.count, quarantinedBoots: quarantine.count },
  };
}
