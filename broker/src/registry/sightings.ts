/**
 * What devices say of themselves and when they were last heard: the profiles of the newest birth, and the time of
 * the last accepted envelope. Advisory, for people: nothing is decided by it. Births are rare and kept in the
 * database, so that units are known after a restart; the times are in memory.
 */

import { decodeBirth } from '@fieldproof/protocol/messages';
import type { Registry } from './registry.ts';

export interface DeclaredMetric {
  readonly metric: string;
  /** SenML unit. */
  readonly unit: string;
}

export type DeclaredProfiles = Readonly<Record<string, readonly DeclaredMetric[]>>;

export interface Sighting {
  /** Unix ms of the last accepted envelope; null when there was none since the start. */
  readonly lastSeenMs: number | null;
  readonly profiles: DeclaredProfiles;
}

const NOTHING: DeclaredProfiles = {};

export class Sightings {
  readonly #registry: Pick<Registry, 'births' | 'storeBirth'>;
  readonly #onDatabaseError: (error: unknown) => void;
  readonly #lastSeen = new Map<string, number>();
  readonly #profiles = new Map<string, DeclaredProfiles>();

  constructor(
    registry: Pick<Registry, 'births' | 'storeBirth'>,
    onDatabaseError: (error: unknown) => void,
  ) {
    this.#registry = registry;
    this.#onDatabaseError = onDatabaseError;
  }

  async load(): Promise<void> {
    for (const { deviceId, profiles } of await this.#registry.births()) {
      this.#profiles.set(deviceId, JSON.parse(profiles) as DeclaredProfiles);
    }
  }

  /** An envelope was accepted. */
  seen(deviceId: string, at: number): void {
    this.#lastSeen.set(deviceId, at);
  }

  /** A birth was accepted; its payload has passed the gate's checks. */
  born(deviceId: string, payload: Uint8Array): void {
    const profiles: DeclaredProfiles = Object.fromEntries(
      Object.entries(decodeBirth(payload).profiles).map(([profile, metrics]) => [
        profile,
        metrics.map(({ metric, unit }) => ({ metric, unit })),
      ]),
    );
    const text = JSON.stringify(profiles);
    const known = this.#profiles.get(deviceId);
    this.#profiles.set(deviceId, profiles);
    if (known !== undefined && JSON.stringify(known) === text) return;
    this.#registry.storeBirth(deviceId, text).catch(this.#onDatabaseError);
  }

  of(deviceId: string): Sighting {
    return {
      lastSeenMs: this.#lastSeen.get(deviceId) ?? null,
      profiles: this.#profiles.get(deviceId) ?? NOTHING,
    };
  }
}
