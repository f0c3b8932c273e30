/**
 * Takes the operator's desired states: judges, keeps, applies, watches, takes back, and reports each outcome as a signed
 * event. docs/spec/remote-config.md sections 2 and 3.
 *
 * One at a time. The order is: durable first, then applied, then reported; a crash in between repeats the rest.
 */

import { equalBytes, toHex } from '@fieldproof/protocol/bytes';
import type { CborValue } from '@fieldproof/protocol/cbor';
import { type ConfigReport, configEventOf } from '@fieldproof/protocol/config-report';
import {
  checkDesiredState,
  type DesiredState,
  digestOfState,
  formatWishProblem,
  headOfState,
} from '@fieldproof/protocol/desired-state';
import { parseEnvelope } from '@fieldproof/protocol/envelope';
import { cutText } from '@fieldproof/protocol/well-formed';
import type { Clock, TimerHandle } from './clock.ts';
import type { Disk } from './disk.ts';
import { reasonOf } from './errors.ts';
import type { Log } from './log.ts';
import { loadRemoteRecord, NO_RECORD, type RemoteRecord, saveRemoteRecord } from './remote-file.ts';
import type { EffectiveSettings, Judged } from './remote-rules.ts';
import type { RemoteSettings } from './remote-settings.ts';
import type { RemoteStatus } from './remote-status.ts';
import { judgeWatch, silentOnTheirOwn, type Watch, type WatchedSensor } from './remote-watch.ts';

/** How often a change on trial is looked at. */
const LOOK_EVERY_MS = 500;
/** Starts of the agent that a change may need to prove itself. */
const MAX_TRIAL_STARTS = 3;
/** How far ahead of this device's clock a state may have been issued. */
const MAX_AHEAD_MS = 86_400_000;

export interface RemoteConfigOptions {
  /** The agent's state folder. */
  readonly folder: string;
  readonly settings: RemoteSettings;
  readonly clock: Clock;
  /** The wall clock, and how far it may be off; null while it is not believed. */
  readonly wall: () => { readonly wallMs: number; readonly boundMs: number | null };
  readonly log: Log;
  readonly disk?: Disk;
  /** Verifies an envelope under the present control key and gives its payload. */
  readonly open: (envelope: Uint8Array) => Uint8Array;
  /** Key id of the present control key; undefined while the network's keys are not known. */
  readonly keyId: () => Uint8Array | undefined;
  readonly judge: (state: DesiredState) => Promise<Judged>;
  /** Goes over to these settings, or back to the owner's (null). */
  readonly apply: (effective: EffectiveSettings | null) => Promise<void>;
  /** The sensors in use, for the watch. */
  readonly sensors: () => readonly Omit<WatchedSensor, 'readings'>[];
  /** Readings of each profile by now. */
  readonly readings: () => ReadonlyMap<string, number>;
  readonly report: (event: string, detail: Readonly<Record<string, CborValue>>) => Promise<void>;
  readonly onChange: () => void;
}

interface InForce {
  readonly envelope: Uint8Array;
  readonly state: DesiredState;
  readonly digest: Uint8Array;
  readonly effective: EffectiveSettings;
}

/** A refusal before anything has changed. */
interface Refusal {
  readonly code: string;
  readonly reasons: readonly string[];
}

export class RemoteConfig {
  readonly #options: RemoteConfigOptions;
  #record: RemoteRecord = NO_RECORD;
  #inForce: InForce | undefined;
  #watch: Watch | undefined;
  #timer: TimerHandle | undefined;
  #queue: Promise<void> = Promise.resolve();
  #isStopped = false;
  #isStarted = false;
  /** Reports of `load`, which runs before anything can be sealed. */
  #owed: Omit<ConfigReport, 'more'>[] = [];

  constructor(options: RemoteConfigOptions) {
    this.#options = options;
  }

  /** The settings in force, undefined for the owner's. */
  get effective(): EffectiveSettings | undefined {
    return this.#inForce?.effective;
  }

  /** Brings back what was in force, verified and judged again. Before the sensors start. */
  async load(): Promise<void> {
    const { folder, settings } = this.#options;
    this.#record = await loadRemoteRecord(folder, this.#options);
    const { inForce, trial } = this.#record;
    if (inForce === null) return;
    if (!settings.allow) {
      await this.#dropAtLoad(inForce, 'refused', notAllowed());
      return;
    }
    const found = await this.#reopen(inForce);
    if ('code' in found) {
      const isGone = found.code === '';
      await this.#dropAtLoad(inForce, isGone ? 'expired' : 'refused', found);
      return;
    }
    if (trial === null) {
      this.#inForce = found;
      return;
    }
    if (trial.starts >= MAX_TRIAL_STARTS) {
      const reasons = [`expected it to prove itself, got ${trial.starts} starts before it had`];
      await this.#goBack(found, { code: 'ERR_CONFIG_RESTARTS', reasons }, async () => {});
      return;
    }
    this.#inForce = found;
    await this.#keep({ ...this.#record, trial: { ...trial, starts: trial.starts + 1 } });
    // The report of before may not have been sealed.
    await this.#tell(found, { outcome: 'applied', reasons: [] });
  }

  /** The sensors run: seals what `load` has to report, and watches a change on trial. */
  async started(): Promise<void> {
    this.#isStarted = true;
    for (const report of this.#owed.splice(0)) await this.#send(report);
    const { trial } = this.#record;
    if (trial !== null && this.#inForce !== undefined) this.#beginWatch(trial.watched);
  }

  /** Ends timers; what is under way is finished. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#options.clock.cancel(this.#timer);
    await this.#queue;
  }

  /** Takes a desired state whose signature has been verified. Never rejects. */
  receive(envelope: Uint8Array, payload: Uint8Array): Promise<void> {
    return this.#serially(() => this.#receive(envelope, payload));
  }

  /** Looks whether the state in force is over, by time or by key; called from time to time. Never rejects. */
  check(): Promise<void> {
    return this.#serially(async () => {
      const inForce = this.#inForce;
      if (inForce === undefined) return;
      if (this.#hasExpired(inForce.state)) {
        await this.#leave(inForce, { outcome: 'expired', reasons: [] });
      } else if (!this.#isPresentKey(parseEnvelope(inForce.envelope).kid)) {
        const reasons = ['key: the control key of the network was replaced'];
        await this.#leave(inForce, { outcome: 'expired', reasons });
      }
    });
  }

  status(): RemoteStatus {
    const { last, sinceMs, trial } = this.#record;
    const newest = this.#newest();
    const { allow } = this.#options.settings;
    const current = this.#inForce;
    return {
      ...{ allow, newest },
      inForce:
        current === undefined
          ? null
          : {
              version: current.state.version,
              id: toHex(current.state.id),
              digest: toHex(current.digest),
              issuedMs: current.state.issued,
              expiresMs: current.state.expires,
              ...{ sinceMs, trial: trial !== null },
            },
      last:
        last === null ? null : { outcome: last.outcome, code: last.code, reasons: last.reasons },
    };
  }

  /** `capabilities.config` of a birth. */
  capability(): Readonly<Record<string, CborValue>> {
    const digest = this.#inForce?.digest;
    return {
      allow: this.#options.settings.allow,
      newest: this.#newest(),
      inForce: this.#inForce?.state.version ?? 0,
      ...(digest === undefined ? {} : { digest }),
    };
  }

  async #receive(envelope: Uint8Array, payload: Uint8Array): Promise<void> {
    if (this.#isStopped) return;
    const digest = digestOfState(payload);
    const head = headOfState(payload);
    const about = { ...head, digest };
    const { last } = this.#record;
    const newest = this.#newest();
    const isAgain =
      head.version === this.#record.newest && last !== null && equalBytes(last.digest, digest);
    if (isAgain && (last.outcome === 'applied' || last.outcome === 'rolled-back')) {
      // It came twice: said again, not done again.
      const { outcome, code, reasons } = last;
      await this.#send({ ...about, ...this.#versions(), ...codeOf(code), outcome, reasons });
      return;
    }
    const refuse = async ({ code, reasons }: Refusal, isJudged: boolean): Promise<void> => {
      if (isJudged && head.version !== undefined && head.version >= newest) {
        const id = head.id ?? null;
        const told = { digest, id, outcome: 'refused' as const, code, reasons: short(reasons) };
        await this.#keep({
          ...this.#record,
          ...this.#judgedBy(head.version, envelope),
          last: told,
        });
      }
      this.#options.log.warn('remote configuration refused', {
        ...{ version: head.version ?? 0, code },
        reasons: reasons.slice(0, 16).join('; '),
      });
      await this.#send({ ...about, ...this.#versions(), outcome: 'refused', code, reasons });
      this.#options.onChange();
    };
    if (!this.#options.settings.allow) return await refuse(notAllowed(), false);
    if (head.version !== undefined && head.version <= newest && !isAgain) {
      const expected = `version: expected more than ${newest}, got ${head.version}`;
      return await refuse({ code: 'ERR_CONFIG_STALE', reasons: [expected] }, false);
    }
    const judged = await this.#judgePayload(payload);
    if ('code' in judged) return await refuse(judged, judged.code !== 'ERR_CONFIG_EXPIRED');
    await this.#adopt({ envelope, digest, ...judged }, (refusal) => refuse(refusal, false));
  }

  /** Durable, then in use, then said. */
  async #adopt(next: InForce, refuse: (refusal: Refusal) => Promise<void>): Promise<void> {
    const { log, apply, sensors, wall, onChange } = this.#options;
    const { trial } = this.#record;
    // A change that has not proved itself is nothing to go back to.
    const before = trial === null ? this.#record.inForce : trial.before;
    const watched = sensors()
      .filter(({ gaveBefore }) => gaveBefore)
      .map(({ profile }) => profile);
    const { id, version } = next.state;
    const record: RemoteRecord = {
      ...this.#judgedBy(version, next.envelope),
      inForce: next.envelope,
      sinceMs: Math.max(0, Math.round(wall().wallMs)),
      trial: { before, watched, starts: 1 },
      last: { digest: next.digest, id, outcome: 'applied', code: null, reasons: [] },
    };
    if (!(await this.#keep(record))) {
      const reasons = ['state: expected to be stored, got an error of the disk'];
      return await refuse({ code: 'ERR_CONFIG_NOT_KEPT', reasons });
    }
    this.#inForce = next;
    try {
      await apply(next.effective);
    } catch (error) {
      const refusal = { code: 'ERR_CONFIG_NO_READINGS', reasons: [reasonOf(error)] };
      return await this.#goBack(next, refusal, apply);
    }
    log.info('remote configuration applied', { version, expires: iso(next.state.expires) });
    await this.#tell(next, { outcome: 'applied', reasons: [] });
    this.#beginWatch(watched);
    onChange();
  }

  #beginWatch(watched: readonly string[]): void {
    const { clock, sensors, readings, settings } = this.#options;
    const counts = readings();
    this.#watch = {
      sensors: sensors().map((sensor) => ({
        ...sensor,
        gaveBefore: watched.includes(sensor.profile),
        readings: counts.get(sensor.profile) ?? 0,
      })),
      startedMs: clock.monotonicMs(),
      graceMs: settings.graceMs,
    };
    this.#lookLater();
  }

  #lookLater(): void {
    const { clock } = this.#options;
    clock.cancel(this.#timer);
    if (this.#isStopped) return;
    this.#timer = clock.after(LOOK_EVERY_MS, () => {
      void this.#serially(() => this.#look());
    });
  }

  async #look(): Promise<void> {
    const { clock, readings, apply, log, onChange } = this.#options;
    const [watch, current] = [this.#watch, this.#inForce];
    if (watch === undefined || current === undefined || this.#isStopped) return;
    if (this.#record.trial === null) return await this.#lookForSilence(watch, current);
    const verdict = judgeWatch(watch, readings(), clock.monotonicMs());
    if (verdict.type === 'waiting') return this.#lookLater();
    if (verdict.type === 'failed') {
      const { reasons } = verdict;
      this.#watch = undefined;
      return await this.#goBack(current, { code: 'ERR_CONFIG_NO_READINGS', reasons }, apply);
    }
    await this.#keep({ ...this.#record, trial: null });
    log.info('remote configuration has proved itself', { version: current.state.version });
    onChange();
    await this.#lookForSilence(watch, current);
  }

  /** It is in force whatever these do; that nothing is known of them is said once. Not over a restart. */
  async #lookForSilence(watch: Watch, current: InForce): Promise<void> {
    const { clock, readings, log } = this.#options;
    const silent = silentOnTheirOwn(watch, readings(), clock.monotonicMs());
    if (silent === undefined) return this.#lookLater();
    this.#watch = undefined;
    if (silent.length === 0) return;
    log.warn('sensors are silent since the remote configuration', { sensors: silent.join(', ') });
    const reasons = silent.map(
      (profile) => `${profile}: no reading since, for 3 times its longest silence: state unknown`,
    );
    await this.#tell(current, { outcome: 'applied', reasons });
  }

  /** To the state before the change, or the owner's settings where that is none any more. */
  async #goBack(
    from: InForce,
    { code, reasons }: Refusal,
    apply: RemoteConfigOptions['apply'],
  ): Promise<void> {
    this.#watch = undefined;
    const before = this.#record.trial?.before ?? null;
    const found = before === null ? undefined : await this.#reopen(before);
    const back = found === undefined || 'code' in found ? undefined : found;
    this.#inForce = back;
    const told = { digest: from.digest, id: from.state.id, outcome: 'rolled-back' as const };
    await this.#keep({
      ...this.#record,
      inForce: back?.envelope ?? null,
      trial: null,
      last: { ...told, code, reasons: short(reasons) },
    });
    this.#options.log.warn('remote configuration rolled back', {
      ...{ version: from.state.version, to: back?.state.version ?? 0, code },
      reasons: reasons.join('; '),
    });
    await apply(back?.effective ?? null).catch((error: unknown) =>
      this.#options.log.error('settings not applied', { reason: reasonOf(error) }),
    );
    await this.#tell(from, { outcome: 'rolled-back', code, reasons });
    this.#options.onChange();
  }

  /** Back to the owner's settings. */
  async #leave(
    from: InForce,
    report: { readonly outcome: 'expired'; readonly reasons: readonly string[] },
  ): Promise<void> {
    const { apply, log, onChange } = this.#options;
    this.#watch = undefined;
    this.#inForce = undefined;
    const told = { digest: from.digest, id: from.state.id, code: null };
    const last = this.#lastWith({
      ...told,
      outcome: report.outcome,
      reasons: short(report.reasons),
    });
    await this.#keep({ ...this.#record, inForce: null, trial: null, last });
    log.warn('remote configuration expired; settings are those of agent.yaml', {
      version: from.state.version,
    });
    await apply(null).catch((error: unknown) =>
      log.error('settings not applied', { reason: reasonOf(error) }),
    );
    await this.#tell(from, report);
    onChange();
  }

  async #dropAtLoad(
    envelope: Uint8Array,
    outcome: 'refused' | 'expired',
    { code, reasons }: Refusal,
  ): Promise<void> {
    const { payload } = parseEnvelope(envelope);
    const digest = digestOfState(payload);
    this.#options.log.warn('remote configuration is not in force any more', {
      reasons: reasons.join('; '),
    });
    const about = { ...headOfState(payload), digest };
    const told = { digest, id: about.id ?? null, outcome, code: code || null };
    const last = this.#lastWith({ ...told, reasons: short(reasons) });
    await this.#keep({ ...this.#record, inForce: null, trial: null, last });
    await this.#send({ ...about, ...this.#versions(), ...codeOf(code), outcome, reasons });
  }

  /** A kept state, verified and judged again; code '' for one whose time or key is over. */
  async #reopen(envelope: Uint8Array): Promise<InForce | Refusal> {
    let payload: Uint8Array;
    try {
      payload = this.#options.open(envelope);
    } catch (error) {
      return { code: '', reasons: [`it does not verify any more: ${reasonOf(error)}`] };
    }
    const judged = await this.#judgePayload(payload);
    if ('code' in judged) {
      return judged.code === 'ERR_CONFIG_EXPIRED' ? { ...judged, code: '' } : judged;
    }
    return { envelope, digest: digestOfState(payload), ...judged };
  }

  async #judgePayload(
    payload: Uint8Array,
  ): Promise<{ state: DesiredState; effective: EffectiveSettings } | Refusal> {
    const invalid = (reasons: readonly string[]): Refusal => ({
      ...{ code: 'ERR_CONFIG_INVALID', reasons },
    });
    let checked: ReturnType<typeof checkDesiredState>;
    try {
      checked = checkDesiredState(payload);
    } catch (error) {
      return invalid([reasonOf(error)]);
    }
    const { state, problems } = checked;
    if (state === undefined) return invalid(problems.map(formatWishProblem));
    if (this.#hasExpired(state)) {
      const now = iso(this.#options.wall().wallMs);
      const reasons = [`expires: expected a time after ${now}, got ${iso(state.expires)}`];
      return { code: 'ERR_CONFIG_EXPIRED', reasons };
    }
    if (this.#isFromTheFuture(state)) {
      const now = iso(this.#options.wall().wallMs);
      return invalid([`issued: expected at most a day after ${now}, got ${iso(state.issued)}`]);
    }
    const { effective, objections } = await this.#options.judge(state);
    if (effective !== undefined) return { state, effective };
    const reasons = objections.map(formatWishProblem);
    if (objections.every(({ isLimit }) => isLimit)) {
      return { code: 'ERR_CONFIG_NOT_ALLOWED', reasons };
    }
    return invalid(reasons);
  }

  /** A clock that is not believed ends nothing. */
  #hasExpired({ expires }: DesiredState): boolean {
    const { wallMs, boundMs } = this.#options.wall();
    return boundMs !== null && wallMs - boundMs >= expires;
  }

  /** Its end would be as far away as its beginning: the clock of who issued it is wrong. */
  #isFromTheFuture({ issued }: DesiredState): boolean {
    const { wallMs, boundMs } = this.#options.wall();
    return boundMs !== null && issued > wallMs + boundMs + MAX_AHEAD_MS;
  }

  /** The newest version that was judged under the present key: whoever had another one could have used all of them up. */
  #newest(): number {
    const { newest, key } = this.#record;
    return key === undefined || this.#isPresentKey(key) ? newest : 0;
  }

  #isPresentKey(kid: Uint8Array): boolean {
    const present = this.#options.keyId();
    return present === undefined || equalBytes(kid, present);
  }

  #judgedBy(newest: number, envelope: Uint8Array): Pick<RemoteRecord, 'newest' | 'key'> {
    return { newest, key: parseEnvelope(envelope).kid.slice() };
  }

  /** What was reported of the newest version stays, when this is of an older one. */
  #lastWith(told: NonNullable<RemoteRecord['last']>): RemoteRecord['last'] {
    const { last } = this.#record;
    return last === null || equalBytes(last.digest, told.digest) ? told : last;
  }

  /** Whether it is durable. It counts for this run in any case but a new state's. */
  async #keep(record: RemoteRecord): Promise<boolean> {
    const isNew = record.last?.outcome === 'applied' && record.inForce !== this.#record.inForce;
    try {
      await saveRemoteRecord(this.#options.folder, record, this.#options.disk);
      this.#record = record;
      return true;
    } catch (error) {
      this.#options.log.error('remote configuration not stored', { reason: reasonOf(error) });
      if (!isNew) this.#record = record;
      return false;
    }
  }

  async #tell(
    about: InForce,
    report: Pick<ConfigReport, 'outcome' | 'code' | 'reasons'>,
  ): Promise<void> {
    await this.#send(this.#reportOf(about, report));
  }

  #reportOf(
    { state, digest }: InForce,
    report: Pick<ConfigReport, 'outcome' | 'code' | 'reasons'>,
  ): Omit<ConfigReport, 'more'> {
    return { id: state.id, version: state.version, digest, ...report, ...this.#versions() };
  }

  #versions(): { newest: number; inForce: number } {
    return { newest: this.#newest(), inForce: this.#inForce?.state.version ?? 0 };
  }

  async #send(report: Omit<ConfigReport, 'more'>): Promise<void> {
    if (!this.#isStarted) {
      this.#owed.push(report);
      return;
    }
    const { event, detail } = configEventOf(report);
    await this.#options.report(event, detail);
  }

  #serially(work: () => Promise<void>): Promise<void> {
    this.#queue = this.#queue
      .then(work)
      .catch((error: unknown) =>
        this.#options.log.error('remote configuration', { reason: reasonOf(error) }),
      );
    return this.#queue;
  }
}

function notAllowed(): Refusal {
  const reasons = ['remote.allow: expected true in agent.yaml, got false'];
  return { code: 'ERR_CONFIG_NOT_ALLOWED', reasons };
}

function codeOf(code: string | null): { code?: string } {
  return code === null || code === '' ? {} : { code };
}

/** As the file takes them. */
function short(reasons: readonly string[]): readonly string[] {
  return reasons.slice(0, 16).map((reason) => cutText(reason, 400));
}

function iso(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? String(ms) : date.toISOString().replace(/\.\d+Z$/, 'Z');
}
