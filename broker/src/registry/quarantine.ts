/**
 * Quarantined boots: what CloneWatch finds becomes a `quarantine` entry, in force when the log has it; an operator
 * releases. docs/spec/settlement.md 2.2, docs/spec/registry.md section 6.
 */

import { bootPair, formatBootName } from '@fieldproof/protocol/boot-name';
import { isSameBoot, MAX_QUARANTINED } from '@fieldproof/protocol/registry-device';
import { BrokerError } from '../errors.ts';
import type { BootName, Clone, CloneWatch } from '../gate/clones.ts';
import type { Logger } from '../log.ts';
import type { Directory } from './directory.ts';
import type { Device, Registry } from './registry.ts';

export interface QuarantineOptions {
  readonly directory: Directory;
  readonly clones: CloneWatch;
  readonly registry: Registry;
  /** Boots of a device that are in the log, in the order of their first entries. */
  readonly recordedBoots: (device: string) => readonly BootName[];
  readonly log: Pick<Logger, 'warn' | 'error'>;
}

export class QuarantineDesk {
  private readonly options: QuarantineOptions;
  /** By device: index of the last time anchor in what the database had. */
  private readonly through = new Map<string, number>();
  /** Devices of whose clones the log has refused the last. */
  private readonly failing = new Set<string>();
  /** Found while the log was read at the start; logged unless an entry further on says so already. */
  private readonly found = new Map<string, { readonly deviceId: string; readonly clone: Clone }>();

  constructor(options: QuarantineOptions) {
    this.options = options;
  }

  /** Boots that are quarantined, of all devices. */
  get count(): number {
    const devices = this.options.directory.all();
    return devices.reduce((count, { quarantined }) => count + quarantined.length, 0);
  }

  /** Takes over from the database what a restart must not forget. */
  async load(): Promise<void> {
    const { registry, clones } = this.options;
    for (const { deviceId, boots, index } of await registry.freshBirths()) {
      clones.restore(deviceId, boots);
      this.through.set(deviceId, index);
    }
  }

  /** The log is another one than the database remembers: its births are those of the log, read from the beginning. */
  async forget(): Promise<void> {
    const { registry, clones } = this.options;
    for (const deviceId of this.through.keys()) clones.restore(deviceId, []);
    this.through.clear();
    await registry.forgetFreshBirths();
  }

  /** A time anchor says that a fresh birth is recorded. Resolves when what it shows is in force. */
  async freshBirth(deviceId: string, boot: BootName, index: number): Promise<void> {
    const clone = this.note(deviceId, boot, index);
    if (clone !== null) await this.quarantine(deviceId, clone);
  }

  /** The same of an anchor that a start reads; see `adopt`. */
  replayBirth(deviceId: string, boot: BootName, index: number): void {
    if (index <= (this.through.get(deviceId) ?? -1)) return;
    const clone = this.note(deviceId, boot, index);
    if (clone !== null) this.found.set(nameOf(deviceId, clone.boot), { deviceId, clone });
  }

  /**
   * Logs a quarantine, unless it is in force. Of a boot that is refused anyhow for its counter there is none beyond
   * as many as a reader keeps. Never throws: what the log refuses is found again.
   */
  async quarantine(deviceId: string, clone: Clone): Promise<void> {
    const { directory, clones, log } = this.options;
    const { boot, against } = clone;
    const isNeeded = () => {
      const device = directory.get(deviceId);
      if (device === null || has(device.quarantined, boot)) return false;
      const isFull = device.quarantined.length >= MAX_QUARANTINED;
      return !isFull || clones.conflict(deviceId, boot) === null;
    };
    if (!isNeeded()) return;
    await directory
      .inTurn(deviceId, async () => {
        if (!isNeeded()) return;
        await directory.record({
          action: 'quarantine',
          subject: deviceId,
          boot: bootPair(boot),
          against: bootPair(against),
        });
        this.failing.delete(deviceId);
        const names = { boot: formatBootName(boot), against: formatBootName(against) };
        log.warn({ event: 'clone', deviceId, ...names }, 'clone: boot quarantined');
      })
      .catch((error: unknown) => {
        // A clone that goes on sending is no reason to say it again.
        if (this.failing.has(deviceId)) return;
        this.failing.add(deviceId);
        log.error({ event: 'clone-not-logged', err: error, deviceId }, 'clone: not quarantined');
      });
  }

  /**
   * Has the envelopes of a boot judged again.
   *
   * @throws {BrokerError} ERR_STANDING when it is not quarantined, ERR_DEVICE_UNKNOWN, ERR_LOG_FULL.
   */
  release(deviceId: string, boot: BootName, reason: string | undefined): Promise<Device> {
    const { directory } = this.options;
    return directory.inTurn(deviceId, async () => {
      const device = directory.require(deviceId);
      if (!has(device.quarantined, boot)) {
        throw new BrokerError('ERR_STANDING', `boot ${formatBootName(boot)}: not quarantined`);
      }
      return directory.record({
        action: 'release',
        subject: deviceId,
        boot: bootPair(boot),
        ...(reason !== undefined && { reason }),
      });
    });
  }

  /**
   * Logs, once the registry is as the log has it, what a crash or an earlier version left unlogged: clones that the
   * births in the log show, and the boots that earlier versions kept in the database only.
   */
  async adopt(): Promise<void> {
    const { directory, registry, log } = this.options;
    for (const { deviceId, clone } of this.found.values()) {
      if (!has(directory.get(deviceId)?.released ?? [], clone.boot)) {
        await this.quarantine(deviceId, clone);
      }
    }
    this.found.clear();
    for (const { deviceId, ...boot } of await registry.unloggedQuarantines()) {
      if (!(await this.adoptUnlogged(deviceId, boot))) continue;
      await registry
        .forgetUnloggedQuarantine(deviceId, boot)
        .catch((error: unknown) =>
          log.error({ event: 'database-refused', err: error }, 'registry: database refused'),
        );
    }
  }

  /** @returns whether the database need not remember it any more. */
  private async adoptUnlogged(deviceId: string, boot: BootName): Promise<boolean> {
    const { directory, recordedBoots } = this.options;
    const device = directory.get(deviceId);
    if (device === null || has(device.released, boot)) return true;
    const others = recordedBoots(deviceId).filter((known) => !isSameBoot(known, boot));
    await this.quarantine(deviceId, { boot, against: others.at(-1) ?? boot });
    return has(directory.require(deviceId).quarantined, boot);
  }

  private note(deviceId: string, boot: BootName, index: number): Clone | null {
    const { fresh, clone } = this.options.clones.freshBirth(deviceId, boot);
    if (fresh !== null) this.options.directory.keepFreshBirths({ deviceId, boots: fresh, index });
    return clone;
  }
}

function has(boots: readonly BootName[], boot: BootName): boolean {
  return boots.some((known) => isSameBoot(known, boot));
}

function nameOf(deviceId: string, boot: BootName): string {
  return `${deviceId} ${formatBootName(boot)}`;
}
