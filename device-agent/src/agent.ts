/**
 * The agent: sensors → sampler → batch → journal (sign) → outbox → link. Layers call only downward; this file
 * puts them together. It may run many times in one process, each on a data folder of its own.
 */

import { randomBytes } from 'node:crypto';
import { availableParallelism, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { verifyCheckpoint } from '@fieldproof/protocol/checkpoint';
import { DESIRED_STATE_TYPE } from '@fieldproof/protocol/desired-state';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { CONTENT_TYPES } from '@fieldproof/protocol/envelope';
import { encodeBirth } from '@fieldproof/protocol/messages';
import { noteVerifier } from '@fieldproof/protocol/note-key';
import type { Receipt } from '@fieldproof/protocol/settlement-messages';
import { formatTopic } from '@fieldproof/protocol/topics';
import { AGENT_VERSION } from './agent-version.ts';
import type { BatchReading } from './batch.ts';
import { type Boot, beginBoot, bootKey, lastBootCounter } from './boot.ts';
import { type Clock, systemClock, type TimerHandle } from './clock.ts';
import { ClockState } from './clock-state.ts';
import type { AgentConfig } from './config.ts';
import { readJoinFile } from './contact.ts';
import { type DeviceIdentity, loadDeviceKey } from './device-key.ts';
import { type Disk, systemDisk } from './disk.ts';
import { type DownMessage, openDownMessage } from './down-message.ts';
import { readIfPresent, removeLeftovers } from './durable-file.ts';
import type { EdgeHost } from './edge/edge-host.ts';
import { loadEdge } from './edge/load-edge.ts';
import { AgentError, codeOf, reasonOf } from './errors.ts';
import type { Gateway, GatewayOptions } from './gateway/gateway.ts';
import { Journal } from './journal.ts';
import { Link } from './link.ts';
import { type Log, silentLog } from './log.ts';
import { lossWindow } from './loss-window.ts';
import { Membership, readJoinLine } from './membership.ts';
import { type MemoryFolder, openMemoryFolder } from './memory-folder.ts';
import { Outbox } from './outbox.ts';
import { finishRebase, rebaseOutbox } from './outbox-rebase.ts';
import { loadOwnership } from './owner.ts';
import { type ParkedId, ParkedStore } from './parked.ts';
import { ReceiptFile } from './receipt-file.ts';
import { RemoteConfig } from './remote-config.ts';
import { remoteEdgeMistakes } from './remote-edge.ts';
import { type EffectiveSettings, judgeWishes, ownSettings } from './remote-rules.ts';
import { Sampler } from './sampler.ts';
import { loadSensorDriver } from './sensors/drivers.ts';
import { Settlement } from './settlement.ts';
import { fetchStanding } from './standing.ts';
import { type StateLock, takeStateLock } from './state-lock.ts';
import { type AgentStatus, saveStatus } from './status.ts';
import { loadVia, type Via } from './via.ts';
import { meteredDisk, WriteMeter, writeKinds } from './write-meter.ts';

const STATUS_EVERY_MS = 10_000;
/** Without a memory folder the status is on the card: after the first minutes, in which people look, more rarely. */
const STATUS_ON_CARD_EVERY_MS = 60_000;
const WATCHED_MS = 10 * 60_000;
const EXPIRE_EVERY_MS = 15 * 60_000;
/** What is durable and not sent yet gets this long at `stop`; it is sent at the next start otherwise. */
const STOP_PATIENCE_MS = 1000;
const MIB = 1024 * 1024;

export interface AgentOptions {
  readonly config: AgentConfig;
  /** Folder with the device key and the join line, as `initAgent` makes it. */
  readonly dataDir: string;
  readonly clock?: Clock;
  readonly log?: Log;
  /** Gives that many random bytes. */
  readonly random?: (length: number) => Uint8Array;
  /** Root of the file system that the sensors read, `/` but in tests. */
  readonly root?: string;
  /** Where sensor drivers come from by name; tests pass sensors of their own. */
  readonly loadDriver?: typeof loadSensorDriver;
  /** Called after every change that a person would want to see. */
  readonly onStatus?: (status: AgentStatus) => void;
  /** It had to start anew, and could not: it does nothing any more. */
  readonly onFailed?: (error: unknown) => void;
  /** Whether to write status.json; default true. */
  readonly statusFile?: boolean;
  /** Where all that the agent keeps lies; tests pass one that fails. */
  readonly disk?: Disk;
}

interface Parts {
  readonly lock: StateLock;
  readonly disk: Disk;
  readonly memory: MemoryFolder | undefined;
  readonly outbox: Outbox;
  readonly parked: ParkedStore;
  readonly journal: Journal;
  readonly settlement: Settlement;
  readonly membership: Membership;
  readonly sampler: Sampler;
  readonly link: Link;
  readonly receiptFile: ReceiptFile;
  readonly remote: RemoteConfig;
  readonly gateway: Gateway | undefined;
  readonly via: Via | undefined;
  readonly clockState: ClockState;
  readonly boot: { readonly counter: number; readonly seed: Uint8Array };
  readonly owner: string | null;
}

export class Agent {
  readonly #options: Required<Omit<AgentOptions, 'onStatus' | 'onFailed'>> &
    Pick<AgentOptions, 'onStatus' | 'onFailed'>;
  #parts: Parts | undefined;
  /** Open from early in a start, before there are `#parts`. */
  #outbox: Outbox | undefined;
  #memory: MemoryFolder | undefined;
  #clockState: ClockState | undefined;
  readonly #meter: WriteMeter;
  readonly #startMs: number;
  #batch: BatchReading[] = [];
  #sealTimer: TimerHandle | undefined;
  #statusTimer: TimerHandle | undefined;
  #lastReceipt: AgentStatus['lastReceipt'] = null;
  #firstRecordedMs: number | null = null;
  #head: readonly [number, Uint8Array] | null = null;
  /** Rejects that the birth on its way acknowledges. */
  #acknowledging: readonly ParkedId[] = [];
  #savingStatus: Promise<void> = Promise.resolve();
  /** A birth of this boot was recorded. */
  #isBootRecorded = false;
  #hasBegunAbove = false;
  /** Nothing of these was recorded; what waits of them is sealed anew at the next start. */
  #refusedBoots: Boot[] = [];
  /** The highest boot counter that a receipt has listed. */
  #highestListed = 0;
  /** Under way: a start with another key or id. */
  #restarting: Promise<void> | undefined;
  #isStopping = false;
  #expireAtMs = 0;
  /** What the owner's configuration and the operator's desired state make together. */
  #effective: EffectiveSettings;
  /** Undefined where there are no edge functions. */
  #edge: EdgeHost | undefined;
  /** Readings of each profile since the agent started. */
  readonly #given = new Map<string, number>();

  constructor(options: AgentOptions) {
    this.#options = {
      clock: systemClock,
      log: silentLog,
      random: (length) => new Uint8Array(randomBytes(length)),
      root: '/',
      loadDriver: loadSensorDriver,
      statusFile: true,
      disk: systemDisk,
      ...options,
    };
    this.#effective = ownSettings(this.#options.config);
    const { clock, config } = this.#options;
    this.#meter = new WriteMeter({ clock, ...config.disk });
    this.#startMs = clock.monotonicMs();
  }

  /**
   * Takes the data folder, recovers the outbox, begins a boot, starts sensors and link. Resolves when readings
   * are being recorded, with or without a network.
   *
   * @throws {AgentError} ERR_AGENT_LOCKED, ERR_AGENT_KEY, ERR_AGENT_NOT_INITIALISED, ERR_AGENT_JOIN_LINE,
   * ERR_AGENT_STATE, ERR_AGENT_OUTBOX.
   */
  async start(): Promise<void> {
    this.#isStopping = false;
    await this.#begin();
  }

  async #begin(): Promise<void> {
    const { dataDir, disk } = this.#options;
    const state = join(dataDir, 'state');
    await disk.makeFolder(state).catch((cause: unknown) => {
      throw new AgentError('ERR_AGENT_STATE', `${state}: ${reasonOf(cause)}`, { cause });
    });
    const lock = await takeStateLock(state);
    try {
      for (const folder of [dataDir, state]) await removeLeftovers(folder, disk);
      await this.#start(lock, state);
    } catch (cause) {
      await this.#closeOutbox();
      await this.#edge?.close();
      this.#edge = undefined;
      this.#parts = undefined;
      await lock.release();
      if (!/^E[A-Z0-9]+$/.test(codeOf(cause) ?? '')) throw cause;
      throw new AgentError('ERR_AGENT_STATE', `${state}: ${reasonOf(cause)}`, { cause });
    }
  }

  /** Seals what was sampled, makes it durable, disconnects, and gives the data folder free. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#restarting;
    await this.#end();
  }

  /** With the key and the id that the device has by now: a boot has one of each. */
  #restart(why: string): void {
    const { log, onFailed } = this.#options;
    log.info(`starts anew: ${why}`);
    this.#restarting = this.#end()
      .then(() => (this.#isStopping ? undefined : this.#begin()))
      .catch((error: unknown) => {
        log.error('did not start anew', { reason: reasonOf(error) });
        onFailed?.(error);
      });
  }

  /**
   * Two devices have this key, or this one has lost count of its boots, as after a restored backup. What was never
   * recorded may be the latter: once, it begins a boot above all that the receipts list. If there is another device, the
   * network finds out by their births, and that is that.
   *
   * @returns whether it begins another boot.
   */
  #bootRefused(boot: Boot): boolean {
    if (this.#isBootRecorded || this.#hasBegunAbove) return false;
    this.#hasBegunAbove = true;
    this.#refusedBoots.push(boot);
    this.#restart('the network knows another boot of this count');
    return true;
  }

  async #end(): Promise<void> {
    const parts = this.#parts;
    if (parts === undefined) return;
    const { clock, log } = this.#options;
    clock.cancel(this.#sealTimer);
    clock.cancel(this.#statusTimer);
    await parts.gateway?.stop();
    await parts.remote.stop();
    await parts.sampler.stop();
    await this.#sealBatch('final');
    await parts.journal.event('stopping');
    await parts.outbox
      .sync()
      .catch((error: unknown) => log.error('outbox not synced', { reason: reasonOf(error) }));
    await parts.link.stop(STOP_PATIENCE_MS);
    await parts.receiptFile.flush();
    await this.#publishStatus({ isLast: true });
    this.#parts = undefined;
    await this.#closeOutbox();
    await this.#edge?.close();
    this.#edge = undefined;
    await parts.lock.release();
  }

  async #closeOutbox(): Promise<void> {
    const { log } = this.#options;
    let isClosed = true;
    await this.#outbox?.close().catch((error: unknown) => {
      isClosed = false;
      log.error('outbox not closed', { reason: reasonOf(error) });
    });
    this.#outbox = undefined;
    // What could not be spilled waits there for the next start.
    await this.#memory?.close(!isClosed);
    this.#memory = undefined;
  }

  /** @throws {AgentError} ERR_AGENT_STATE before `start` and after `stop`. */
  status(): AgentStatus {
    const parts = this.#parts;
    if (parts === undefined) throw new AgentError('ERR_AGENT_STATE', 'agent: expected it started');
    const { config, clock } = this.#options;
    const { sealEveryMs } = this.#effective;
    const { boot, membership, journal, settlement, outbox, parked } = parts;
    const sealed = journal.counts();
    const { settled, rejected, lastReject } = settlement.counts();
    const stats = outbox.stats();
    return {
      device: membership.deviceId,
      network: membership.network,
      name: config.name,
      pid: process.pid,
      atMs: clock.wallMs(),
      boot: { counter: boot.counter, seed: Buffer.from(boot.seed).toString('hex') },
      link: parts.link.status(),
      clock: parts.clockState.status(),
      enrolled: membership.credential !== undefined,
      owner: membership.credential?.owner ?? parts.owner,
      counts: {
        sealed: sealed.sealed,
        readings: sealed.readings,
        recorded: settled,
        pending: stats.pending,
        rejected,
        parked: parked.list().length,
        dropped: sealed.dropped,
        lostReadings: sealed.lostReadings,
      },
      lastReject,
      lastReceipt: this.#lastReceipt,
      logContradicted: parts.receiptFile.contradicted,
      firstRecordedMs: this.#firstRecordedMs,
      outbox: {
        bytes: stats.bytes,
        maxBytes: config.outbox.maxBytes,
        bytesWritten: stats.bytesWritten,
        syncs: stats.syncs,
      },
      sensors: parts.sampler.status(),
      ...(this.#edge && { edge: this.#edge.status() }),
      remote: parts.remote.status(),
      disk: this.#meter.status(),
      lossWindow: lossWindow(
        { ...config, batch: { ...config.batch, sealEveryMs } },
        parts.memory !== undefined,
      ),
      ...(parts.gateway && { gateway: parts.gateway.status() }),
      ...(parts.via?.gateway && {
        via: { gateway: parts.via.gateway, address: `${parts.via.host}:${parts.via.port}` },
      }),
    };
  }

  async #start(lock: StateLock, state: string): Promise<void> {
    const { config, dataDir, clock, log, random, root, loadDriver } = this.#options;
    const identity = await loadDeviceKey(dataDir);
    const joinLine = readJoinLine(await readJoinFile(dataDir, config.joinFile));
    const ownership = await loadOwnership(dataDir);
    const parent = config.memoryFolder;
    const memory = await openMemoryFolder({ parent, state, random, log, disk: this.#options.disk });
    this.#memory = memory;
    const kindOf = writeKinds(dataDir, memory?.path);
    const disk = meteredDisk(this.#options.disk, this.#meter, kindOf);
    const outbox = await this.#openOutbox(join(state, 'outbox'), {
      ...{ ...identity, disk, memory },
      network: joinLine.network,
    });
    for (const part of outbox.damage) {
      const torn = part.reason === 'torn';
      log.warn(`outbox: ${torn ? 'a torn write was cut off' : 'damage was passed over'}`, {
        ...part,
      });
    }
    const parked = new ParkedStore({
      folder: join(state, 'parked'),
      max: config.outbox.maxParked,
      disk,
    });
    await parked.open();
    const events: [string, Record<string, string | number>][] = [];
    const tell = (event: string, detail: Record<string, string | number>): void => {
      if (this.#parts === undefined) events.push([event, detail]);
      else void this.#parts.journal.event(event, detail);
    };
    const clockState = new ClockState({
      clock,
      ...config.clock,
      root,
      onStep: (byMs) => {
        log.warn('the clock was set; not believed until it is confirmed', { byMs });
        tell('clock-step', { byMs });
        this.#parts?.link.confirmSoon();
      },
      onSynced: (boundMs, by) => {
        log.info('clock confirmed', { boundMs, by });
        tell('clock-synced', { boundMs, by });
        void this.#parts?.remote.check();
      },
    });
    this.#clockState = clockState;
    const { network } = joinLine;
    const { signer } = identity;
    const { format } = config.batch;
    const via = await loadVia(dataDir);
    const membership = new Membership({
      ...(via !== undefined && via.gateway !== null && { through: via }),
      dataDir,
      joinLine,
      identity,
      ownership,
      name: config.name,
      cell: config.cell,
      agent: AGENT_VERSION,
      clock,
      clockState,
      timeoutMs: config.link.timeoutMs,
      random,
      log,
      disk,
    });
    await membership.load();
    const receiptFile = new ReceiptFile({ folder: state, clock, log, disk });
    await receiptFile.open((bytes) => this.#openKept(bytes, membership));
    if (receiptFile.newest !== undefined) this.#noteReceipt(receiptFile.newest, membership);
    const boot = await beginBoot({
      ...{ folder: state, random, disk },
      atLeast: Math.max(
        ...[outbox.highestBootCounter, parked.highestBootCounter, identity.firstBoot - 1],
        ...[this.#highestListed, ...(receiptFile.newest?.boots ?? []).map(([counter]) => counter)],
      ),
      wasHere: receiptFile.newest !== undefined || outbox.highestBootCounter > 0,
    });
    this.#isBootRecorded = false;
    if (boot.hasLeapt) {
      log.warn('the count of boots was lost; it goes on well above what is known', {
        boot: boot.counter,
      });
      tell('boot-count-lost', { boot: boot.counter });
    }
    const journal = new Journal({ network, signer, boot, outbox, clock: clockState, format, log });
    const settlement = new Settlement({ outbox, parked, journal, clock, log });
    const bootMs = (): number => clockState.bootMs();
    const remote = this.#makeRemote({ state, membership, clockState, journal, disk });
    await remote.load();
    this.#effective = remote.effective ?? ownSettings(this.#options.config);
    const effective = (): EffectiveSettings => this.#effective;
    const sampler = new Sampler({
      sensors: this.#effective.sensors,
      dataDir,
      root,
      loadDriver,
      clock,
      bootMs,
      offsetMs: () => clockState.read().offsetMs,
      boundMs: () => clockState.read().boundMs,
      log,
      onReadings: (readings) => this.#take(readings),
      onFailed: (profile, reason) =>
        tell('sensor-failed', { profile, reason: reason.slice(0, 200) }),
      onRecovered: (profile) => tell('sensor-recovered', { profile }),
    });
    const gateway =
      config.gateway.listen === 'off'
        ? undefined
        : await makeGateway({
            ...{ settings: config.gateway, signer, membership, clockState, journal, outbox },
            ...{ clock, log, random, state },
            isOnline: () => this.#parts?.link.status().state === 'online',
          });
    const link = new Link({
      ...(via !== undefined && via.gateway !== null && { via: { ...via, gateway: via.gateway } }),
      credential: async () => (await readIfPresent(join(state, 'credential.cose'))) ?? null,
      ...(gateway !== undefined && {
        onPrepared: () => gateway.fileDelegations(),
        onRelayDown: (message: Uint8Array) => gateway.relayDown(message),
      }),
      membership,
      signer,
      settings: {
        ...config.link,
        get heartbeatMs() {
          return effective().heartbeatMs;
        },
      },
      confirmEveryMs: config.clock.confirmEveryMs,
      outbox,
      journal,
      settlement,
      clock,
      log,
      random,
      isIdentityCurrent: async () => (await loadDeviceKey(dataDir)).keyId === identity.keyId,
      onIdentityChanged: () => this.#restart('the device has another key or id'),
      onCloned: () => this.#bootRefused(boot),
      isQuarantined: async () => {
        const { quarantined } = await fetchStanding(membership);
        return quarantined.includes(bootKey(boot).replace('-', '.'));
      },
      boot,
      birth: (nonce) => this.#birth(nonce),
      onBirthRecorded: () => {
        this.#isBootRecorded = true;
        parked.acknowledged(this.#acknowledging);
      },
      onMessage: (message, settled) => this.#heard(message, settled),
      onState: () => this.#statusChanged(),
    });
    this.#parts = {
      lock,
      disk,
      memory,
      outbox,
      parked,
      journal,
      settlement,
      membership,
      sampler,
      link,
      receiptFile,
      remote,
      gateway,
      via,
      clockState,
      boot,
      owner: ownership?.owner ?? null,
    };
    await this.#setEdge();
    await clockState.checkTimesyncd();
    // What a crash or a damaged card took is declared before anything new.
    for (const { boot, ranges } of outbox.holes()) await outbox.drop(boot, ranges);
    if (outbox.undeclared().length > 0) await journal.declareLosses();
    await sampler.start();
    for (const [event, detail] of events) await journal.event(event, detail);
    await remote.started();
    await gateway?.start();
    log.info('agent started', {
      device: identity.deviceId,
      network,
      boot: bootKey(boot),
      pending: outbox.stats().pending,
    });
    link.start();
    this.#sealLater();
    this.#statusLater();
  }

  /** Sealed anew first, where the device has taken the place of another one. */
  async #openOutbox(
    folder: string,
    options: DeviceIdentity & {
      readonly network: string;
      readonly disk: Disk;
      readonly memory: MemoryFolder | undefined;
    },
  ): Promise<Outbox> {
    const { config, clock, log } = this.#options;
    const { disk, memory } = options;
    const openWith = async (path: string, frontFolder: string | undefined): Promise<Outbox> => {
      const outbox = new Outbox({
        ...config.outbox,
        ...{ folder: path, clock, log, disk, frontFolder },
        onDurable: () => this.#parts?.link.wake(),
        trueTimeMs: () => this.#trueTimeMs(),
      });
      this.#outbox = outbox;
      await outbox.open();
      return outbox;
    };
    await finishRebase(folder, disk);
    const outbox = await openWith(folder, memory?.path);
    const refused = this.#refusedBoots.splice(0);
    if (!options.tookPlace && refused.length === 0) return outbox;
    const above = Math.max(
      ...[outbox.highestBootCounter, this.#highestListed, options.firstBoot - 1],
      await lastBootCounter(dirname(folder), disk),
    );
    const moved = (boot: Boot): Boot => {
      const { counter, seed } = boot;
      const at = refused.findIndex((each) => bootKey(each) === bootKey(boot));
      if (at >= 0) return { counter: above + 1 + at, seed };
      // A key that took a place signs boots from `firstBoot` on only.
      const isBefore = options.tookPlace && counter < options.firstBoot;
      return isBefore ? { counter: options.firstBoot - 1 + counter, seed } : boot;
    };
    // What is in the front is sealed anew too, from the card.
    await outbox.close();
    const open = (path: string): Promise<Outbox> => openWith(path, undefined);
    const rebased = await rebaseOutbox(await open(folder), { ...options, folder, open, moved });
    if (rebased.sealed > 0) {
      log.info('sealed anew what waited', { device: options.deviceId, envelopes: rebased.sealed });
    }
    await rebased.outbox.close();
    return await openWith(folder, memory?.path);
  }

  /** Unix ms by a clock that is believed. */
  #trueTimeMs(): number | null {
    const now = this.#clockState?.read();
    return now === undefined || now.boundMs === null ? null : now.wallMs;
  }

  #makeRemote(
    parts: Pick<Parts, 'membership' | 'clockState' | 'journal' | 'disk'> & {
      readonly state: string;
    },
  ): RemoteConfig {
    const { config, clock, log } = this.#options;
    const { membership, clockState, journal, disk, state } = parts;
    return new RemoteConfig({
      ...{ folder: state, settings: config.remote, clock, log, disk },
      wall: () => clockState.read(),
      open: (envelope) => {
        const message = openKept('config', envelope, membership);
        if (message.kind !== 'config') throw new Error('expected a configuration');
        return message.payload;
      },
      judge: async (wishes) =>
        judgeWishes(wishes, {
          own: this.#options.config,
          remote: config.remote,
          known: this.#parts?.sampler.known() ?? new Map(),
          edgeMistakes: await remoteEdgeMistakes(wishes.edge),
        }),
      apply: (effective) => this.#apply(effective),
      sensors: () => this.#watchedSensors(),
      readings: () => this.#given,
      report: (event, detail) => journal.event(event, detail),
      onChange: () => this.#statusChanged(),
    });
  }

  /** Goes over to other settings within the boot; a new session says so. */
  async #apply(effective: EffectiveSettings | null): Promise<void> {
    this.#effective = effective ?? ownSettings(this.#options.config);
    const parts = this.#parts;
    if (parts === undefined || this.#isStopping) return;
    await parts.sampler.change(this.#effective.sensors);
    await this.#setEdge();
    await this.#sealBatch('pending');
    this.#sealLater();
    parts.link.renew('the configuration has changed');
  }

  #watchedSensors(): ReturnType<ConstructorParameters<typeof RemoteConfig>[0]['sensors']> {
    const sampler = this.#parts?.sampler;
    const known = sampler?.known();
    const failing = new Set(
      (sampler?.status() ?? []).flatMap((each) => (each.failing === null ? [] : [each.profile])),
    );
    return this.#effective.sensors.map(({ profile, intervalMs }) => ({
      profile,
      intervalMs: known?.get(profile)?.kind === 'push' ? undefined : intervalMs,
      gaveBefore: this.#given.has(profile) && !failing.has(profile),
    }));
  }

  #take(taken: readonly BatchReading[]): void {
    const readings = taken.filter(({ profile, metric }) => this.#effective.keeps(profile, metric));
    for (const { profile } of readings) {
      this.#given.set(profile, (this.#given.get(profile) ?? 0) + 1);
    }
    this.#batch.push(...(this.#edge?.take(readings) ?? readings));
    if (this.#batch.length >= this.#options.config.batch.maxReadings) void this.#sealBatch();
  }

  async #sealBatch(flush: 'no' | 'pending' | 'final' = 'no'): Promise<void> {
    const journal = this.#parts?.journal;
    const readings = this.#batch;
    const edge = this.#edge;
    this.#batch = [];
    if (readings.length > 0) await journal?.telemetry(readings);
    await (edge &&
      journal?.results(
        (now) => edge.run(now, flush),
        (payload, seq, now) => edge.sealed(payload, seq, now),
      ));
  }

  /** Goes over to the edge functions that are in force. They are loaded when there are some, or raw readings of some. */
  async #setEdge(): Promise<void> {
    const { config, dataDir, clock, log } = this.#options;
    const { disk, boot, clockState } = this.#parts!;
    const settings = this.#effective.edge;
    if (this.#edge !== undefined) {
      this.#edge.change(settings);
      return;
    }
    const folder = join(dataDir, 'state', 'raw');
    const isKept = await disk.stat(folder).then(
      () => true,
      () => false,
    );
    if (Object.keys(settings).length === 0 && !isKept) return;
    const { EdgeHost } = await loadEdge();
    const edge = new EdgeHost({
      ...{ settings, raw: config.raw, folder, disk, log, boot },
      monotonicMs: () => clock.monotonicMs(),
      clockSteps: () => clockState.status().steps,
      onFull: () => void this.#sealBatch(),
    });
    await edge.open();
    this.#edge = edge;
  }

  #sealLater(): void {
    const { clock } = this.#options;
    clock.cancel(this.#sealTimer);
    this.#sealTimer = clock.after(this.#effective.sealEveryMs, () => {
      this.#sealLater();
      // Also looks for a step of the clock while there is nothing to seal.
      this.#parts?.clockState.read();
      void this.#parts?.clockState.checkTimesyncd();
      this.#expire();
      void this.#parts?.remote.check();
      void this.#sealBatch();
    });
  }

  /** Now and then. */
  #expire(): void {
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs < this.#expireAtMs) return;
    this.#expireAtMs = nowMs + EXPIRE_EVERY_MS;
    void this.#parts?.journal.expire();
  }

  #birth(nonce: Uint8Array | null): ReturnType<Journal['birth']> {
    const { config } = this.#options;
    const { journal, sampler, parked, remote } = this.#parts!;
    const { keeps } = this.#effective;
    const profiles = Object.fromEntries(
      sampler.profiles().map(({ profile, metrics, intervalMs }) => {
        const wanted = metrics.filter(({ metric }) => keeps(profile, metric));
        const rows = this.#edge?.metricsOf(profile, wanted) ?? wanted;
        return [
          profile,
          rows.map((spec) => (intervalMs === undefined ? spec : { ...spec, intervalMs })),
        ];
      }),
    );
    this.#acknowledging = parked.toAcknowledge();
    const rejectsSeen = this.#acknowledging.map(({ boot, seq }): [number, Uint8Array, number] => [
      boot.counter,
      boot.seed,
      seq,
    ]);
    return journal.birth(({ wallMs, boundMs }) =>
      encodeBirth({
        nonce,
        agent: AGENT_VERSION,
        source: config.source,
        profiles,
        capabilities: {
          memoryMb: Math.round(totalmem() / MIB),
          cpus: availableParallelism(),
          arch: process.arch,
          formats: [CONTENT_TYPES.senml, CONTENT_TYPES.columns, CONTENT_TYPES.edgeResult],
          config: remote.capability(),
        },
        rejectsSeen,
        head: this.#head === null ? null : [this.#head[0], this.#head[1]],
        ...(boundMs === null ? {} : { wall: [Math.round(wallMs), boundMs] as [number, number] }),
      }),
    );
  }

  #heard(message: DownMessage, settled: number): void {
    if (message.kind === 'receipt') {
      const { receiptFile, membership } = this.#parts!;
      const { receipt, bytes } = message;
      this.#highestListed = Math.max(
        this.#highestListed,
        ...receipt.boots.map(([counter]) => counter),
      );
      void receiptFile.keep({ receipt, bytes });
      this.#noteReceipt(receipt, membership);
      if (settled > 0) this.#noteFirstReading(receipt.at);
    } else if (message.kind === 'config' && message.type === DESIRED_STATE_TYPE) {
      void this.#parts!.remote.receive(message.bytes, message.payload);
    } else this.#statusChanged();
  }

  /** What the owner waits for after `init`: the first reading that the network has. */
  #noteFirstReading(atMs: number): void {
    const { journal, outbox, boot } = this.#parts!;
    const seq = journal.firstTelemetrySeq;
    if (this.#firstRecordedMs !== null || seq === undefined || outbox.isPending(boot, seq)) return;
    this.#firstRecordedMs = atMs;
    this.#options.log.info('first reading recorded', { at: new Date(atMs).toISOString() });
    this.#statusChanged();
  }

  /** A receipt of an earlier run, verified again. */
  #openKept(bytes: Uint8Array, membership: Membership): Receipt {
    const message = openKept('receipt', bytes, membership);
    if (message.kind !== 'receipt') throw new Error('expected a receipt');
    return message.receipt;
  }

  #noteReceipt(receipt: Receipt, membership: Membership): void {
    this.#noteHead(receipt, membership);
    const [entry] = receipt.entry;
    this.#lastReceipt = { atMs: receipt.at, entry, checkpointSize: this.#head?.[0] ?? null };
  }

  /** Keeps the newest checkpoint that the log signed, for the next birth. */
  #noteHead({ checkpoint }: Receipt, { descriptor }: Membership): void {
    if (checkpoint === null || descriptor === undefined) return;
    const origin = descriptor.origins.evidence;
    try {
      const log = noteVerifier(origin, descriptor.keys.log);
      const { size, root } = verifyCheckpoint(checkpoint, { origin, log, verify });
      if (size >= (this.#head?.[0] ?? 0)) this.#head = [size, root];
    } catch (error) {
      this.#options.log.warn('checkpoint ignored', { reason: reasonOf(error) });
    }
  }

  #statusChanged(): void {
    void this.#publishStatus();
  }

  #statusLater(): void {
    const { clock } = this.#options;
    const isWatched = clock.monotonicMs() - this.#startMs < WATCHED_MS;
    const isCheap = this.#memory !== undefined || isWatched;
    this.#statusTimer = clock.after(isCheap ? STATUS_EVERY_MS : STATUS_ON_CARD_EVERY_MS, () => {
      this.#statusLater();
      void this.#publishStatus();
    });
  }

  /** @param isLast - it goes to the data folder, for those who ask while nothing runs. */
  #publishStatus({ isLast = false } = {}): Promise<void> {
    if (this.#parts === undefined) return Promise.resolve();
    const { dataDir, statusFile, onStatus, log } = this.#options;
    const { disk, memory } = this.#parts;
    const status = this.status();
    onStatus?.(status);
    if (!statusFile) return Promise.resolve();
    this.#savingStatus = this.#savingStatus
      .then(() => saveStatus(isLast ? dataDir : (memory?.path ?? dataDir), status, disk))
      .catch((error: unknown) => log.debug('status not saved', { reason: reasonOf(error) }));
    return this.#savingStatus;
  }
}

/** A message that was kept, verified under the keys of now. */
function openKept(
  kind: 'receipt' | 'config',
  bytes: Uint8Array,
  { network, deviceId, descriptor }: Membership,
): DownMessage {
  if (descriptor === undefined) throw new Error('the keys of the network are not known');
  const topic = formatTopic({ network, deviceId, kind });
  return openDownMessage(topic, bytes, { network, deviceId, keys: descriptor.keys });
}

/** Loaded where it is used: in a bundle it is a file of its own. */
async function makeGateway(options: GatewayOptions): Promise<Gateway> {
  try {
    const { Gateway } = await import('./gateway/gateway.ts');
    return new Gateway(options);
  } catch (cause) {
    if (codeOf(cause) !== 'ERR_MODULE_NOT_FOUND') throw cause;
    throw new AgentError('ERR_AGENT_BUNDLE', 'gateway: its file is missing', { cause });
  }
}
