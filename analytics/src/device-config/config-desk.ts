/**
 * Issues desired states, sees to it that they arrive, and knows what devices made of them
 * (docs/spec/remote-config.md section 5). What is issued is durable before it is sent.
 *
 * A state is sent at once, after a birth that lacks it, and with growing pauses until the device has answered. A device
 * that is not connected is not asked for: its birth is waited for.
 */
import { randomBytes } from 'node:crypto';
import { fromBase64url, toBase64url, toHex } from '@fieldproof/protocol/bytes';
import type { BirthConfig, ConfigReport } from '@fieldproof/protocol/config-report';
import {
  checkDesiredState,
  digestOfState,
  encodeDesiredState,
  type Wishes,
} from '@fieldproof/protocol/desired-state';
import { FieldproofError } from '@fieldproof/protocol/errors';
import type { Logger } from 'pino';
import { AnalyticsError } from '../errors.ts';
import type {
  ConfigHistory,
  HistoryRecord,
  IssuedRecord,
  ReportedRecord,
} from './config-history.ts';
import type { DownSender } from './down-sender.ts';

const FIRST_PAUSE_MS = 5000;
const LONGEST_PAUSE_MS = 600_000;
/** Sends of one version without an answer; the next birth begins anew. */
const MAX_ATTEMPTS = 100;
const SENDS_AT_ONCE = 16;
/** Reports of one version that are kept: a device may be faulty, or hostile. */
const MAX_REPORTS = 32;
/** Versions above this are no device's honest word. */
const MAX_SAID_VERSION = 2 ** 48;

/** Where a state stands. */
export type Standing =
  | 'waiting'
  | 'applied'
  | 'refused'
  | 'rolled-back'
  | 'expired'
  /** Another one was issued before it was answered. */
  | 'replaced';

export interface IssuedState extends Omit<IssuedRecord, 'type' | 'device'> {
  readonly wishes: Wishes;
  readonly standing: Standing;
  /** Oldest first. */
  readonly reports: readonly ReportedRecord[];
}

export interface Delivery {
  readonly attempts: number;
  /** Unix ms of the last attempt, null before. */
  readonly lastMs: number | null;
  /** Whether the device was connected at it. */
  readonly connected: boolean | null;
  /** What keeps it from being sent. */
  readonly problem: { readonly code: string; readonly message: string } | null;
}

export interface DeviceConfig {
  readonly device: string;
  /** Newest first. */
  readonly states: readonly IssuedState[];
  /** Version that it last said is in force; 0 for none, null when it said nothing. */
  readonly inForce: number | null;
  readonly delivery: Delivery;
}

export interface ConfigDeskOptions {
  readonly history: ConfigHistory;
  readonly records: readonly HistoryRecord[];
  readonly sender: DownSender;
  /** Unix ms. */
  readonly clock: () => number;
  readonly log: Logger;
  readonly random?: (size: number) => Uint8Array;
  /** Replaced by tests. */
  readonly later?: (ms: number, work: () => void) => () => void;
}

export interface NewState {
  readonly device: string;
  readonly wishes: Wishes;
  /** Unix ms. */
  readonly expiresMs: number;
  /** Name of the token. */
  readonly by: string;
  /** The newest version that whoever issues this has seen, 0 for none: another one since is a conflict. */
  readonly ifVersion?: number | undefined;
}

interface Entry {
  readonly issued: IssuedRecord[];
  readonly reports: ReportedRecord[];
  /** Newest version that the device has judged, as it said last. */
  newest: number;
  delivery: Delivery;
  /** Unix ms; infinite while a birth is waited for. */
  nextMs: number;
}

export class ConfigDesk {
  readonly #options: Required<ConfigDeskOptions>;
  readonly #devices = new Map<string, Entry>();
  #queue: Promise<unknown> = Promise.resolve();
  #cancel: (() => void) | undefined;
  #isStopped = false;

  constructor(options: ConfigDeskOptions) {
    this.#options = { random: randomBytes, later: timer, ...options };
    for (const record of options.records) {
      if (record.type === 'reported') this.#entry(record.device).reports.push(record);
      else if (isWhole(record)) this.#entry(record.device).issued.push(record);
      else options.log.error({ record }, 'desired state: expected a payload of its digest');
    }
  }

  /** Whether anything was ever issued: else there is nothing to listen for. */
  get isEmpty(): boolean {
    return this.#devices.size === 0;
  }

  /** Begins to send what has no answer yet. */
  start(): void {
    for (const entry of this.#devices.values()) entry.nextMs = this.#options.clock();
    this.#plan();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancel?.();
    await this.#queue;
  }

  /**
   * Issues a state and begins to send it. Resolves when it is durable and was tried once.
   *
   * @throws {FieldproofError} ERR_CONFIG_INVALID with all mistakes, ERR_CONFIG_CONFLICT; the file system's error.
   */
  async issue({ device, wishes, expiresMs, by, ifVersion }: NewState): Promise<DeviceConfig> {
    const { clock, random, history, log } = this.#options;
    await this.#serially(async () => {
      const entry = this.#devices.get(device);
      const last = entry?.issued.at(-1)?.version ?? 0;
      if (ifVersion !== undefined && ifVersion !== last) {
        const message = `version: expected ${ifVersion} as the newest, got ${last}`;
        throw new AnalyticsError('ERR_CONFIG_CONFLICT', message);
      }
      const version = 1 + Math.max(entry?.newest ?? 0, last);
      const id = Uint8Array.from(random(16));
      const issued = Math.floor(clock());
      const payload = encodeDesiredState({ ...wishes, id, issued, version, expires: expiresMs });
      const record: IssuedRecord = {
        ...{ type: 'issued', device, version, atMs: issued, expiresMs, by },
        ...{ id: toHex(id), digest: toHex(digestOfState(payload)), payload: toBase64url(payload) },
      };
      await history.append(record);
      const known = this.#entry(device);
      known.issued.push(record);
      known.delivery = NOT_SENT;
      log.info({ device, version, by }, 'desired state issued');
      await this.#send(device, known);
    });
    this.#plan();
    return this.of(device);
  }

  /** What is known of a device. */
  of(device: string): DeviceConfig {
    const entry = this.#devices.get(device);
    if (entry === undefined) return { device, states: [], inForce: null, delivery: NOT_SENT };
    const inForce = inForceOf(entry.reports);
    const states = entry.issued.map((record, at): IssuedState => {
      const { type: _type, device: _device, ...rest } = record;
      const reports = entry.reports.filter(({ digest }) => digest === record.digest);
      const isNewest = at === entry.issued.length - 1;
      const nowMs = this.#options.clock();
      const standing = standingOf(record, reports, { isNewest, inForce, nowMs });
      return { ...rest, wishes: wishesOf(record), standing, reports };
    });
    return { device, states: states.reverse(), inForce, delivery: entry.delivery };
  }

  /** Devices that something was issued to. */
  devices(): readonly string[] {
    return [...this.#devices.keys()];
  }

  /** Whether something was issued to a device. */
  knows(device: string): boolean {
    return this.#devices.has(device);
  }

  /** Takes what a device has reported in an event of the evidence. Never rejects. */
  reported(
    device: string,
    report: ConfigReport,
    where: { readonly entry: number; readonly atMs: number },
  ): Promise<void> {
    return this.#quietly(async () => {
      const entry = this.#devices.get(device);
      if (entry === undefined) return;
      entry.newest = plausible(report.newest);
      const { outcome, code = null, reasons, more, inForce } = report;
      await this.#note(device, entry, {
        ...{ digest: toHex(report.digest), outcome, code, reasons, more, inForce },
        ...where,
      });
    });
  }

  /** Takes what a birth says. Sends the newest state to a device that lacks it. Never rejects. */
  born(
    device: string,
    config: BirthConfig | undefined,
    where: { readonly entry: number; readonly atMs: number },
  ): Promise<void> {
    return this.#quietly(async () => {
      const entry = this.#devices.get(device);
      const wanted = entry?.issued.at(-1);
      if (entry === undefined || wanted === undefined) return;
      entry.newest = plausible(config?.newest ?? 0);
      const digest = config?.digest === undefined ? undefined : toHex(config.digest);
      const standing = this.#standing(entry)!;
      if (digest === wanted.digest) {
        // Its report may still be on the way, or lost with a card.
        const applied = { outcome: 'applied', code: null, reasons: [], more: 0 } as const;
        const inForce = wanted.version;
        if (standing === 'waiting') {
          await this.#note(device, entry, { digest, ...applied, inForce, ...where });
        }
        return;
      }
      const hasEnded = wanted.expiresMs <= this.#options.clock();
      if (hasEnded || standing === 'refused' || standing === 'rolled-back') return;
      entry.delivery = { ...entry.delivery, attempts: 0 };
      entry.nextMs = 0;
      this.#plan();
    });
  }

  /** Keeps a report of a state that was issued, when it says something new of it. */
  async #note(
    device: string,
    entry: Entry,
    report: Omit<ReportedRecord, 'type' | 'device' | 'version'>,
  ): Promise<void> {
    const issued = entry.issued.find(({ digest }) => digest === report.digest);
    if (issued === undefined) return;
    const before = entry.reports.filter(({ digest }) => digest === report.digest);
    const last = before.at(-1);
    if (before.length >= MAX_REPORTS || (last !== undefined && says(last) === says(report))) return;
    const { version } = issued;
    const record: ReportedRecord = { type: 'reported', device, version, ...report };
    entry.reports.push(record);
    await this.#options.history.append(record);
    const { outcome, code } = report;
    this.#options.log.info({ device, version, outcome, code }, 'desired state answered');
  }

  /** One attempt; what fails is tried again later. */
  async #send(device: string, entry: Entry): Promise<void> {
    const { sender, clock, log } = this.#options;
    const wanted = entry.issued.at(-1)!;
    const attempts = entry.delivery.attempts + 1;
    const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** (attempts - 1), LONGEST_PAUSE_MS);
    const lastMs = clock();
    try {
      const connected = await sender.send(device, fromBase64url(wanted.payload));
      entry.delivery = { attempts, lastMs, connected, problem: null };
      entry.nextMs = attempts >= MAX_ATTEMPTS ? Number.POSITIVE_INFINITY : lastMs + pauseMs;
      // Its birth will say that it is there; once in a while is enough until then.
      if (!connected) entry.nextMs = lastMs + LONGEST_PAUSE_MS;
    } catch (error) {
      const { code = 'ERR_INTERNAL', message } = error as { code?: string; message: string };
      entry.delivery = { attempts, lastMs, connected: null, problem: { code, message } };
      entry.nextMs = lastMs + Math.min(pauseMs, 60_000);
      log.warn({ err: error, device, version: wanted.version }, 'desired state not sent');
    }
  }

  #plan(): void {
    this.#cancel?.();
    if (this.#isStopped) return;
    let nextMs = Number.POSITIVE_INFINITY;
    for (const device of this.#devices.keys()) nextMs = Math.min(nextMs, this.#dueMs(device));
    if (nextMs === Number.POSITIVE_INFINITY) return;
    const delayMs = Math.min(Math.max(0, nextMs - this.#options.clock()), LONGEST_PAUSE_MS);
    this.#cancel = this.#options.later(delayMs, () => {
      void this.#quietly(() => this.#sendDue()).then(() => this.#plan());
    });
  }

  /** Some of those that are due; the rest come after whoever waits to issue. */
  async #sendDue(): Promise<void> {
    let left = SENDS_AT_ONCE;
    for (const [device, entry] of this.#devices) {
      if (this.#isStopped || left === 0) return;
      if (this.#dueMs(device) > this.#options.clock()) continue;
      left -= 1;
      await this.#send(device, entry);
    }
  }

  /** When a device's newest state is to be sent; infinite when it is not. */
  #dueMs(device: string): number {
    const entry = this.#devices.get(device)!;
    const wanted = entry.issued.at(-1);
    if (wanted === undefined || wanted.expiresMs <= this.#options.clock()) {
      return Number.POSITIVE_INFINITY;
    }
    const isOpen = this.#standing(entry) === 'waiting' || entry.nextMs === 0;
    return isOpen ? entry.nextMs : Number.POSITIVE_INFINITY;
  }

  /** Of the newest state. */
  #standing({ issued, reports }: Entry): Standing | undefined {
    const wanted = issued.at(-1);
    if (wanted === undefined) return undefined;
    const own = reports.filter(({ digest }) => digest === wanted.digest);
    const inForce = inForceOf(reports);
    return standingOf(wanted, own, { isNewest: true, inForce, nowMs: this.#options.clock() });
  }

  #entry(device: string): Entry {
    const known = this.#devices.get(device);
    if (known !== undefined) return known;
    const made: Entry = { issued: [], reports: [], newest: 0, delivery: NOT_SENT, nextMs: 0 };
    this.#devices.set(device, made);
    return made;
  }

  #serially<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => undefined);
    return result;
  }

  #quietly(work: () => Promise<void>): Promise<void> {
    return this.#serially(work).catch((err: unknown) =>
      this.#options.log.error({ err }, 'desired states'),
    );
  }
}

/** Of a device that nothing was issued to. */
export const NOT_SENT: Delivery = { attempts: 0, lastMs: null, connected: null, problem: null };

/** A state's mistakes as one error. @throws {FieldproofError} ERR_CONFIG_INVALID. */
export function refuseMistakes(mistakes: readonly string[]): void {
  if (mistakes.length > 0) throw new FieldproofError('ERR_CONFIG_INVALID', mistakes.join('; '));
}

function standingOf(
  { expiresMs, version }: IssuedRecord,
  reports: readonly ReportedRecord[],
  now: { readonly isNewest: boolean; readonly inForce: number | null; readonly nowMs: number },
): Standing {
  const { isNewest, inForce, nowMs } = now;
  const last = reports.at(-1);
  if (last === undefined) {
    if (!isNewest) return 'replaced';
    return expiresMs <= nowMs ? 'expired' : 'waiting';
  }
  // One behind it that was refused leaves it in force.
  if (last.outcome === 'applied' && !isNewest && inForce !== version) return 'replaced';
  // It goes by itself, and says so when it is connected again.
  if (last.outcome === 'applied' && expiresMs <= nowMs) return 'expired';
  if (last.outcome === 'refused' && last.code === 'ERR_CONFIG_NOT_KEPT' && isNewest) {
    return expiresMs <= nowMs ? 'expired' : 'waiting';
  }
  // Its key was replaced, not its time over: it is sent again under the new one.
  if (last.outcome === 'expired' && expiresMs > nowMs && isNewest) return 'waiting';
  return last.outcome;
}

/** A faulty device must not use up the versions there are. */
function plausible(version: number): number {
  return version <= MAX_SAID_VERSION ? version : 0;
}

/** As the newest report says. */
function inForceOf(reports: readonly ReportedRecord[]): number | null {
  let newest: ReportedRecord | undefined;
  for (const report of reports) {
    if (newest === undefined || report.entry >= newest.entry) newest = report;
  }
  return newest?.inForce ?? null;
}

function isWhole({ payload, digest }: IssuedRecord): boolean {
  try {
    const bytes = fromBase64url(payload);
    return toHex(digestOfState(bytes)) === digest && checkDesiredState(bytes).state !== undefined;
  } catch {
    return false;
  }
}

function wishesOf({ payload }: IssuedRecord): Wishes {
  const { state } = checkDesiredState(fromBase64url(payload));
  if (state === undefined) return {};
  const { id: _id, issued: _issued, version: _version, expires: _expires, ...wishes } = state;
  return wishes;
}

function says({ outcome, code, reasons }: Pick<ReportedRecord, 'outcome' | 'code' | 'reasons'>) {
  return JSON.stringify([outcome, code, reasons]);
}

function timer(ms: number, work: () => void): () => void {
  const handle = setTimeout(work, ms);
  handle.unref();
  return () => clearTimeout(handle);
}
