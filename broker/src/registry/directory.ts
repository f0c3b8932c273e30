/**
 * The devices in memory, for the gate and for logins, and the one way to change them: log first, then memory, then
 * the database, in the order of the log. Nobody waits for the database: what the log has holds.
 */

import type { Signer } from '@fieldproof/protocol/envelope';
import { keyRingOf } from '@fieldproof/protocol/key-ring';
import {
  type RegistryAction,
  readRegistryAction,
  sealRegistryAction,
} from '@fieldproof/protocol/registry-actions';
import { applyRegistryAction, standingOf } from '@fieldproof/protocol/registry-device';
import { BrokerError } from '../errors.ts';
import type { Evidence } from '../gate/evidence.ts';
import type { DeviceKey } from '../gate/session.ts';
import { type Device, type FreshBirths, laterKeyIds, type Registry } from './registry.ts';
import { Turns } from './turns.ts';
import { WriteBehind } from './write-behind.ts';

export interface DirectoryOptions {
  readonly network: string;
  /** Role key `registry`. */
  readonly signer: Signer;
  readonly registry: Registry;
  readonly evidence: Pick<Evidence, 'append'>;
  readonly now: () => number;
  /** The database refused; what it missed is written with the next change or the next start. */
  readonly onDatabaseError: (error: unknown) => void;
  /** An action is in the log, and this is the device after it. */
  readonly onRecorded?: (action: string, device: Device) => void;
}

export class Directory {
  private readonly options: DirectoryOptions;
  private readonly devices = new Map<string, Device>();
  /** As they are while the device is in good standing: handed out for every message. */
  private readonly keys = new Map<string, DeviceKey>();
  /** By the id of a key that is or was the device's, and is not its id. */
  private readonly idOfKey = new Map<string, string>();
  /** What the database has yet to take; however long it is down, of each device only the latest counts. */
  private unwritten = new Map<string, Device>();
  /** Devices by the ids of their later keys: one that a device has forgotten meanwhile is taken by no other. */
  private unwrittenKeys = new Map<string, string>();
  private unwrittenBirths = new Map<string, FreshBirths>();
  private readonly turns = new Turns();
  private readonly writing = new WriteBehind(() => this.write());

  constructor(options: DirectoryOptions) {
    this.options = options;
  }

  async load(): Promise<void> {
    for (const { keyId, deviceId } of await this.options.registry.keys()) {
      this.idOfKey.set(keyId, deviceId);
    }
    for (const device of await this.options.registry.devices()) {
      this.put(device);
    }
  }

  /** The log is read from its beginning: what it does not say of a device is not so. */
  async forget(): Promise<void> {
    await this.options.registry.forgetDevices();
    this.devices.clear();
    this.keys.clear();
    this.idOfKey.clear();
  }

  /** Applies a `registry` entry that the database may have missed. */
  async catchUp(entry: {
    readonly subject: string;
    readonly statement: Uint8Array;
    readonly at: number;
    readonly index: number;
  }): Promise<void> {
    const before = this.devices.get(entry.subject) ?? null;
    if (before !== null && entry.index <= before.logIndex) return;
    const after = applyRegistryAction(before, readRegistryAction(entry.statement), entry);
    if (after === null || after === before) return;
    this.put(after);
    await this.options.registry.apply([after]);
  }

  get(deviceId: string): Device | null {
    return this.devices.get(deviceId) ?? null;
  }

  /** The device whose key the one with this id is, or ever was. */
  deviceOf(keyId: string): Device | null {
    return this.get(keyId) ?? this.get(this.idOfKey.get(keyId) ?? '');
  }

  /** @throws {BrokerError} ERR_DEVICE_UNKNOWN. */
  require(deviceId: string): Device {
    const device = this.devices.get(deviceId);
    if (device !== undefined) return device;
    throw new BrokerError('ERR_DEVICE_UNKNOWN', `device ${deviceId.slice(0, 64)}: not enrolled`);
  }

  /**
   * Runs what checks a device and then changes it, after all that was asked for of the same device before.
   *
   * @param names - ids of devices, and of keys that may become a device's.
   */
  inTurn<T>(names: string | readonly string[], action: () => Promise<T>): Promise<T> {
    return this.turns.take(typeof names === 'string' ? [names] : names, action);
  }

  /** Devices that are enrolled. */
  get count(): number {
    let count = 0;
    for (const { status } of this.devices.values()) if (status !== 'unenrolled') count += 1;
    return count;
  }

  all(): readonly Device[] {
    return [...this.devices.values()];
  }

  /** Keys and standing, for the gate and logins; null for a device that is not enrolled. */
  deviceKey(deviceId: string): DeviceKey | null {
    const device = this.devices.get(deviceId);
    const key = this.keys.get(deviceId);
    if (device === undefined || key === undefined) return null;
    const standing = standingOf(device, this.options.now());
    if (standing === 'unenrolled') return null;
    return standing === 'good' ? key : { ...key, standing };
  }

  /**
   * Logs an action and makes it so. The database takes it afterwards.
   *
   * @returns the device after it, when the log has it durably.
   * @throws {BrokerError} ERR_LOG_FULL, ERR_DEVICE_UNKNOWN.
   */
  async record(action: RegistryAction): Promise<Device> {
    const { network, signer, evidence, now } = this.options;
    const at = now();
    const statement = sealRegistryAction(action, { network, signer });
    const { subject } = action;
    // As a start would read it; what could not be read may not get into the log.
    const said = readRegistryAction(statement);
    const entry = { type: 'registry' as const, at, action: action.action, subject, statement };
    const { index } = await evidence.append(entry);
    const device = applyRegistryAction(this.get(subject), said, { at, index });
    if (device === null) {
      throw new BrokerError('ERR_DEVICE_UNKNOWN', `device ${subject}: not enrolled`);
    }
    this.put(device);
    this.unwritten.set(subject, device);
    for (const keyId of laterKeyIds(device)) this.unwrittenKeys.set(keyId, subject);
    void this.written();
    this.options.onRecorded?.(action.action, device);
    return device;
  }

  /** Has the database remember births for the next start, before it notes that the log is applied so far. */
  keepFreshBirths(births: FreshBirths): void {
    this.unwrittenBirths.set(births.deviceId, births);
    void this.written();
  }

  /** Waits until the database has taken, or refused, what there is now. */
  written(): Promise<void> {
    return this.writing.run();
  }

  /**
   * Waits until the database has everything that it would take, and notes that the log is applied up to a size,
   * so that the next start need not look further back.
   */
  async settle(size: number): Promise<void> {
    await this.written();
    if (this.unwritten.size > 0 || this.unwrittenBirths.size > 0) return;
    await this.options.registry.markApplied(size - 1).catch(this.options.onDatabaseError);
  }

  private put(device: Device): void {
    const { deviceId } = device;
    this.devices.set(deviceId, device);
    this.keys.set(deviceId, { ...keyRingOf(withoutEnded(device)), standing: 'good' });
    for (const keyId of laterKeyIds(device)) this.idOfKey.set(keyId, deviceId);
  }

  /** One transaction for all that have come in meanwhile. */
  private async write(): Promise<void> {
    const devices = this.unwritten;
    const keys = this.unwrittenKeys;
    const births = this.unwrittenBirths;
    if (devices.size === 0 && births.size === 0) return;
    this.unwritten = new Map();
    this.unwrittenKeys = new Map();
    this.unwrittenBirths = new Map();
    try {
      await this.options.registry.apply([...devices.values()], [...births.values()], keys);
    } catch (error) {
      this.unwritten = new Map([...devices, ...this.unwritten]);
      this.unwrittenKeys = new Map([...keys, ...this.unwrittenKeys]);
      this.unwrittenBirths = new Map([...births, ...this.unwrittenBirths]);
      this.options.onDatabaseError(error);
    }
  }
}

/** What was over for a replaced key when the device last got a credential stays over, were the clock set back. */
function withoutEnded(device: Device): Device {
  const { retired, credentialIssued } = device;
  if (retired.every(({ until }) => until > credentialIssued)) return device;
  const ended = retired.map((key) => (key.until > credentialIssued ? key : { ...key, until: 0 }));
  return { ...device, retired: ended };
}
