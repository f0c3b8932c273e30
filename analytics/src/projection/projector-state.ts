/**
 * What the projector remembers of the log before an index: who the devices are, where each boot's readings come from,
 * its time anchor, and which entries wait for one.
 *
 * The state is a function of the log's beginning: it changes only by `applyChange`, with the changes that
 * `project` gives for one entry after the other. So the state that belongs to the cursor can follow behind the one
 * that reading ahead needs. Limits drop in log order, the same way every time.
 */
import type { ReadingSource } from '@fieldproof/compute/readings';

/** Boots remembered for a device, newest first out last. The broker keeps 32 open. */
export const MAX_BOOTS = 64;
/** Entries that wait for a time anchor, over all devices; more stay in the log only. */
export const MAX_WAITING = 200_000;
/** Devices remembered; protects the cursor file of a log that somebody flooded. */
export const MAX_DEVICES = 200_000;

/** What the registry says of a device. */
export interface DeviceFields {
  readonly name: string;
  readonly group: string;
  readonly cell: string;
}

export interface BootState {
  readonly counter: number;
  /** The four bytes of the seed as a number. */
  readonly seed: number;
  /** Undefined until the boot's birth was seen. */
  source: ReadingSource | undefined;
  /** Unix ms at boot time 0; undefined until the first anchor was seen. */
  anchorMs: number | undefined;
  /** Indexes of the entries that wait for the anchor, ascending. */
  waiting: number[];
}

export interface DeviceState extends DeviceFields {
  /** `z6Mk…` */
  readonly id: string;
  readonly boots: readonly BootState[];
}

export interface ProjectorState {
  /** SHA-256 of entry 0 in hex: which log this is. */
  logId: string | undefined;
  /** By the device's key, its 32 bytes as latin1 text. */
  readonly devices: Map<string, DeviceState>;
  /** Entries that wait, over all boots. */
  waiting: number;
  /** Entries that would have waited but were over a limit. */
  dropped: number;
}

export type StateChange =
  | { readonly type: 'log'; readonly logId: string }
  | {
      readonly type: 'device';
      readonly key: string;
      readonly id: string;
      readonly fields: Partial<DeviceFields>;
    }
  | ({ readonly type: 'source'; readonly source: ReadingSource } & BootKey)
  | ({ readonly type: 'anchor'; readonly anchorMs: number } & BootKey)
  | ({ readonly type: 'wait'; readonly index: number } & BootKey);

/** Which boot of which device. */
export interface BootKey {
  readonly key: string;
  readonly id: string;
  readonly counter: number;
  readonly seed: number;
}

/** The state before entry 0. */
export function emptyState(): ProjectorState {
  return { logId: undefined, devices: new Map(), waiting: 0, dropped: 0 };
}

/** The boot if it is remembered. */
export function findBoot(
  device: DeviceState | undefined,
  counter: number,
  seed: number,
): BootState | undefined {
  if (device === undefined) return undefined;
  const { boots } = device;
  for (let i = boots.length - 1; i >= 0; i--) {
    const boot = boots[i]!;
    if (boot.counter === counter && boot.seed === seed) return boot;
  }
  return undefined;
}

/** Makes one change in place. An `anchor` also lets go of the boot's waiting entries. */
export function applyChange(state: ProjectorState, change: StateChange): void {
  if (change.type === 'log') {
    state.logId = change.logId;
    return;
  }
  const device = deviceOf(state, change.key, change.id);
  if (change.type === 'device') {
    state.devices.set(change.key, { ...device, ...change.fields });
    return;
  }
  const boot = bootOf(state, device, change);
  switch (change.type) {
    case 'source':
      boot.source = change.source;
      return;
    case 'anchor':
      boot.anchorMs = change.anchorMs;
      state.waiting -= boot.waiting.length;
      boot.waiting = [];
      return;
    case 'wait':
      if (state.waiting >= MAX_WAITING) {
        state.dropped++;
        return;
      }
      boot.waiting.push(change.index);
      state.waiting++;
  }
}

/** As plain values, for the cursor file. */
export function dumpState(state: ProjectorState): unknown {
  return {
    logId: state.logId ?? null,
    dropped: state.dropped,
    devices: [...state.devices].map(([key, { id, name, group, cell, boots }]) => [
      key,
      id,
      name,
      group,
      cell,
      boots.map((b) => [b.counter, b.seed, b.source ?? null, b.anchorMs ?? null, b.waiting]),
    ]),
  };
}

/**
 * The inverse of `dumpState`.
 *
 * @throws {TypeError} when the value is something else.
 */
export function restoreState(value: unknown): ProjectorState {
  const { logId, dropped, devices } = value as Record<string, unknown>;
  const state = emptyState();
  state.logId = logId === null ? undefined : checked(logId, 'string');
  state.dropped = checked(dropped, 'number');
  for (const row of list(devices)) {
    const [key, id, name, group, cell, boots] = list(row);
    state.devices.set(checked(key, 'string'), {
      id: checked(id, 'string'),
      name: checked(name, 'string'),
      group: checked(group, 'string'),
      cell: checked(cell, 'string'),
      boots: list(boots).map((boot) => {
        const [counter, seed, source, anchorMs, waiting] = list(boot);
        const indexes = list(waiting).map((index) => checked(index, 'number'));
        state.waiting += indexes.length;
        return {
          counter: checked(counter, 'number'),
          seed: checked(seed, 'number'),
          source: source === null ? undefined : (checked(source, 'string') as ReadingSource),
          anchorMs: anchorMs === null ? undefined : checked(anchorMs, 'number'),
          waiting: indexes,
        };
      }),
    });
  }
  return state;
}

function deviceOf(state: ProjectorState, key: string, id: string): DeviceState {
  const known = state.devices.get(key);
  if (known !== undefined) return known;
  if (state.devices.size >= MAX_DEVICES) {
    const [oldest, device] = state.devices.entries().next().value!;
    state.devices.delete(oldest);
    for (const boot of device.boots) forget(state, boot);
  }
  const device = { id, name: '', group: '', cell: '', boots: [] };
  state.devices.set(key, device);
  return device;
}

function bootOf(state: ProjectorState, device: DeviceState, key: BootKey): BootState {
  const known = findBoot(device, key.counter, key.seed);
  if (known !== undefined) return known;
  const boot: BootState = {
    counter: key.counter,
    seed: key.seed,
    source: undefined,
    anchorMs: undefined,
    waiting: [],
  };
  const boots = device.boots as BootState[];
  boots.push(boot);
  if (boots.length > MAX_BOOTS) forget(state, boots.shift()!);
  return boot;
}

function forget(state: ProjectorState, boot: BootState): void {
  state.waiting -= boot.waiting.length;
  state.dropped += boot.waiting.length;
}

function list(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new TypeError('cursor state: expected a list');
}

function checked<T extends 'string' | 'number'>(
  value: unknown,
  type: T,
): T extends 'string' ? string : number {
  if (typeof value === type) return value as never;
  throw new TypeError(`cursor state: expected a ${type}, got ${typeof value}`);
}
