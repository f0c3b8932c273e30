/**
 * Tells of devices that have not renewed their credential as its end comes near, once for each credential: to the log,
 * and to the webhook where one is set. A device renews at two thirds of the life; one that has not at five sixths, or
 * `warnMs` before the end where that is later, is in trouble that nobody else sees while it still sends.
 */

import type { Logger } from '../log.ts';
import type { Device } from '../registry/registry.ts';
import type { ToldMoments } from '../registry/told-store.ts';
import type { WebhookEvent } from './webhook-sender.ts';

export interface CredentialWatchOptions {
  /** How long before the end of a credential; 0: nothing is told. */
  readonly warnMs: number;
  readonly devices: () => readonly Device[];
  readonly device: (deviceId: string) => Device | null;
  /** Suspended devices cannot renew: that they do not is no news. */
  readonly isSuspended: (device: Device, at: number) => boolean;
  /** Ends of the credentials that were told of, Unix ms. */
  readonly store: ToldMoments;
  /** Where events go beside the log. */
  readonly send: (event: WebhookEvent) => void;
  readonly log: Pick<Logger, 'warn' | 'error'>;
  readonly now: () => number;
}

/** Of the life of a credential: half of what is left when it should have been renewed. */
const LAST_PART = 1 / 6;

export class CredentialWatch {
  readonly #options: CredentialWatchOptions;
  readonly #told = new Map<string, number>();
  #writing: Promise<void> = Promise.resolve();

  constructor(options: CredentialWatchOptions) {
    this.#options = options;
  }

  /** Takes over what an earlier run has told. */
  async load(): Promise<void> {
    for (const [deviceId, expires] of await this.#options.store.load()) {
      this.#told.set(deviceId, expires);
    }
  }

  /** Devices whose credential was told of and has not been renewed. */
  get count(): number {
    return this.#told.size;
  }

  /** Looks at all devices. */
  check(): void {
    const { devices, device, isSuspended, now } = this.#options;
    const at = now();
    for (const [deviceId, expires] of this.#told) {
      const known = device(deviceId);
      if (known?.status !== 'unenrolled' && known?.credentialExpires === expires) continue;
      this.#told.delete(deviceId);
      this.#write(() => this.#options.store.remove(deviceId));
    }
    for (const known of devices()) {
      if (known.status === 'unenrolled' || isSuspended(known, at)) continue;
      if (this.#isDue(known, at)) this.#tell(known, at);
    }
  }

  /** Waits until what was told is stored. */
  async stop(): Promise<void> {
    await this.#writing;
  }

  #isDue({ deviceId, credentialIssued, credentialExpires }: Device, at: number): boolean {
    if (this.#told.get(deviceId) === credentialExpires) return false;
    const { warnMs } = this.#options;
    const early = Math.min(warnMs, (credentialExpires - credentialIssued) * LAST_PART);
    return warnMs > 0 && at >= credentialExpires - early;
  }

  #tell({ deviceId, name, group, credentialIssued, credentialExpires }: Device, at: number): void {
    const { store, send, log } = this.#options;
    this.#told.set(deviceId, credentialExpires);
    this.#write(() => store.put(deviceId, credentialExpires));
    const event: WebhookEvent = {
      event: 'credential-expiring',
      at,
      issued: credentialIssued,
      expires: credentialExpires,
    };
    log.warn({ ...event, deviceId }, event.event);
    send({ ...event, device: deviceId, name, group });
  }

  /** In the order of the calls; what the database does not take may be told again after a start. */
  #write(write: () => Promise<void>): void {
    this.#writing = this.#writing.then(write).catch((error: unknown) => {
      this.#options.log.error({ event: 'credential-note-not-stored', err: error }, 'not stored');
    });
  }
}
