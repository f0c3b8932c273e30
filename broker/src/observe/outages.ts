/**
 * Tells of devices that are away and come back, of suspensions and quarantines: to the log, and to the webhook where
 * one is set. The rules are in `offline-watch.ts`; this is their clock, their memory and their voice.
 */

import { standingOf } from '@fieldproof/protocol/registry-device';
import type { Logger } from '../log.ts';
import type { Device } from '../registry/registry.ts';
import type { ToldMoments } from '../registry/told-store.ts';
import { OfflineWatch } from './offline-watch.ts';
import type { WebhookEvent } from './webhook-sender.ts';

export interface OutagesOptions {
  readonly offlineAfterMs: number;
  readonly devices: () => readonly Device[];
  readonly device: (deviceId: string) => Device | null;
  readonly isOnline: (deviceId: string) => boolean;
  /** When an envelope of the device was last recorded, Unix ms, looked up in the log; null: never. */
  readonly lastHeard: (deviceId: string) => Promise<number | null>;
  /** Beginnings of the outages that were told and last. */
  readonly store: ToldMoments;
  /** Where events go beside the log. */
  readonly send: (event: WebhookEvent) => void;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
  readonly now: () => number;
  /** Milliseconds of a clock that nobody sets. */
  readonly monotonicMs: () => number;
}

const CHECK_MS = 5000;

export class Outages {
  readonly #options: OutagesOptions;
  readonly #watch: OfflineWatch;
  #timer: NodeJS.Timeout | null = null;
  #hasLookedBack = false;
  #isChecking = false;
  #checking: Promise<void> = Promise.resolve();
  #writing: Promise<void> = Promise.resolve();

  constructor(options: OutagesOptions) {
    this.#options = options;
    const { offlineAfterMs, monotonicMs } = options;
    this.#watch = new OfflineWatch({ offlineAfterMs, startTick: monotonicMs() });
  }

  /** Outages that were told and last. */
  get count(): number {
    return this.#watch.size;
  }

  async start(): Promise<void> {
    const { store, offlineAfterMs } = this.#options;
    for (const [deviceId, since] of await store.load()) this.#watch.restore(deviceId, { since });
    this.#timer = setInterval(() => void this.#checkInTurn(), Math.min(CHECK_MS, offlineAfterMs));
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    await this.#checking;
    await this.#writing;
  }

  sessionBegins(deviceId: string): void {
    const outage = this.#watch.begins(deviceId);
    if (outage === null) return;
    const { store, now } = this.#options;
    this.#write(() => store.remove(deviceId));
    const at = now();
    const downMs = Math.max(0, at - outage.since);
    this.#tell({ event: 'device-online', at, since: outage.since, downMs }, deviceId);
  }

  /** A device without a session was heard: through its gateway. */
  heard(deviceId: string): void {
    this.sessionBegins(deviceId);
    this.sessionEnds(deviceId);
  }

  sessionEnds(deviceId: string): void {
    this.#watch.ends(deviceId, this.#options.monotonicMs());
  }

  /** An entry about a device is in the log. */
  recorded(action: string, device: Device): void {
    const { deviceId, quarantined, suspension } = device;
    const { now, isOnline, monotonicMs } = this.#options;
    if (action === 'quarantine') {
      const boot = quarantined.at(-1) ?? null;
      this.#tell({ event: 'device-quarantined', at: now(), boot }, deviceId);
    } else if (action === 'suspend') {
      const { kind = 'operator', reason = '', until = null } = suspension ?? {};
      this.#forget(deviceId);
      // Not expected while it lasts, and from then on, however it ends.
      if (!isOnline(deviceId)) this.#watch.ends(deviceId, monotonicMs());
      this.#tell({ event: 'device-suspended', at: now(), kind, reason, until }, deviceId);
    } else if (action === 'resume') {
      if (!isOnline(deviceId)) this.#watch.ends(deviceId, monotonicMs());
    } else if (action === 'unenrol') {
      this.#forget(deviceId);
    }
  }

  /** Looks who is away now; by itself every five seconds. Never rejects. */
  check(): Promise<void> {
    this.#checking = this.#checking
      .then(() => this.#check())
      .catch((error: unknown) => {
        const fields = { event: 'offline-watch-failed', err: error };
        this.#options.log.error(fields, 'offline watch: tried again');
      });
    return this.#checking;
  }

  /** A slow disk makes a check longer, not a queue of them. */
  async #checkInTurn(): Promise<void> {
    if (this.#isChecking) return;
    this.#isChecking = true;
    await this.check();
    this.#isChecking = false;
  }

  async #check(): Promise<void> {
    const { now, monotonicMs, store, lastHeard } = this.#options;
    const tick = monotonicMs();
    if (!this.#watch.isJudging(tick)) return;
    if (!this.#hasLookedBack) {
      await this.#lookBack();
      this.#hasLookedBack = true;
    }
    for (const [deviceId, absence] of this.#watch.due(tick)) {
      const expected = this.#isExpected(deviceId);
      if (expected === 'not ours') this.#watch.forget(deviceId);
      if (expected === 'refused') this.#watch.ends(deviceId, tick);
      if (expected !== 'yes') continue;
      const lastSeen = await lastHeard(deviceId);
      const at = now();
      const began = Math.round(at - (monotonicMs() - absence.fromTick));
      const since = Math.min(absence.heardAt ?? began, began);
      // It may have come back while the log was asked.
      if (!this.#watch.latch(deviceId, absence, { since })) continue;
      this.#write(() => store.put(deviceId, since));
      this.#tell({ event: 'device-offline', at, since, lastSeen }, deviceId);
    }
  }

  /** Devices that have not come since the start are away since they were last heard; one that never was is no outage. */
  async #lookBack(): Promise<void> {
    const { devices, isOnline, lastHeard } = this.#options;
    for (const { deviceId } of devices()) {
      if (isOnline(deviceId) || this.#watch.isKnown(deviceId)) continue;
      const at = await lastHeard(deviceId);
      if (at !== null && !isOnline(deviceId)) this.#watch.heard(deviceId, at);
    }
  }

  #isExpected(deviceId: string): 'yes' | 'refused' | 'not ours' {
    const device = this.#options.device(deviceId);
    const standing = device === null ? 'unenrolled' : standingOf(device, this.#options.now());
    if (standing === 'unenrolled') return 'not ours';
    return standing === 'suspended' ? 'refused' : 'yes';
  }

  /** That it is away is no news any more. */
  #forget(deviceId: string): void {
    this.#watch.forget(deviceId);
    this.#write(() => this.#options.store.remove(deviceId));
  }

  #tell(event: WebhookEvent, deviceId: string): void {
    const { device, log, send } = this.#options;
    const { name = '', group = '' } = device(deviceId) ?? {};
    // Names are the operator's; the log does with the id.
    log.info({ ...event, deviceId }, event.event);
    send({ ...event, device: deviceId, name, group });
  }

  /** In the order of the calls; what the database does not take may be told twice. */
  #write(write: () => Promise<void>): void {
    this.#writing = this.#writing.then(write).catch((error: unknown) => {
      this.#options.log.error({ event: 'outage-not-stored', err: error }, 'outage: not stored');
    });
  }
}
