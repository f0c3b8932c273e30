/**
 * One boot of the agent: sensors → sampler → intake → journal (sign) → outbox → link. Layers call only downward; this
 * file puts them together. Key and id of the device stay the same within it.
 */

import { join } from 'node:path';
import { DESIRED_STATE_TYPE } from '@fieldproof/protocol/desired-state';
import type { Reject } from '@fieldproof/protocol/settlement-messages';
import type { RunOptions } from './agent-options.ts';
import { AGENT_VERSION } from './agent-version.ts';
import { type Boot, beginBoot, bootKey } from './boot.ts';
import { ClockState } from './clock-state.ts';
import { readJoinFile } from './contact.ts';
import { type DeviceIdentity, loadDeviceKey } from './device-key.ts';
import type { Disk } from './disk.ts';
import type { DownMessage } from './down-message.ts';
import { readIfPresent } from './durable-file.ts';
import { reasonOf } from './errors.ts';
import type { Gateway } from './gateway/gateway.ts';
import { makeGateway } from './gateway/load-gateway.ts';
import { Intake } from './intake.ts';
import { Journal } from './journal.ts';
import { Link } from './link.ts';
import { Membership, readJoinLine } from './membership.ts';
import { type MemoryFolder, openMemoryFolder } from './memory-folder.ts';
import { openKept } from './network-view.ts';
import { Outbox } from './outbox.ts';
import { encodeOwnBirth } from './own-birth.ts';
import { openOwnOutbox } from './own-outbox.ts';
import { makeOwnRemote } from './own-remote.ts';
import { loadOwnership } from './owner.ts';
import { type ParkedId, ParkedStore } from './parked.ts';
import { ReceiptFile } from './receipt-file.ts';
import { type EffectiveSettings, ownSettings } from './remote-rules.ts';
import { Sampler } from './sampler.ts';
import { Settlement } from './settlement.ts';
import { Silences } from './silences.ts';
import { fetchStanding } from './standing.ts';
import type { AgentStatus } from './status.ts';
import { type AgentParts, statusOf } from './status-of.ts';
import { StatusWriter } from './status-writer.ts';
import { currentVia } from './via.ts';
import { meteredDisk, writeKinds } from './write-meter.ts';

/** What is durable and not sent yet gets this long at `stop`; it is sent at the next start otherwise. */
const STOP_PATIENCE_MS = 1000;
const EXPIRE_EVERY_MS = 15 * 60_000;

type EventDetail = Record<string, string | number>;

export class AgentRun {
  readonly #options: RunOptions;
  readonly #state: string;
  readonly #silences = new Silences();
  /** Open from early in a start, before there are `#parts`. */
  #memory: MemoryFolder | undefined;
  #clockState: ClockState | undefined;
  #outbox: Outbox | undefined;
  #intake: Intake | undefined;
  #parts: AgentParts | undefined;
  #writer: StatusWriter | undefined;
  /** What happened before it could be sealed. */
  #early: [string, EventDetail][] | undefined = [];
  /** Rejects that the birth on its way acknowledges. */
  #acknowledging: readonly ParkedId[] = [];
  /** A birth of this boot was recorded. */
  #isBootRecorded = false;
  #isEnding = false;
  #expireAtMs = 0;

  constructor(options: RunOptions) {
    this.#options = options;
    this.#state = join(options.dataDir, 'state');
  }

  /** Undefined before `start` has put everything together, and after `end`. */
  status(): AgentStatus | undefined {
    return this.#parts && statusOf(this.#parts);
  }

  /** Recovers the outbox, begins a boot, starts sensors and link. When it rejects, `close` is still to be called. */
  async start(): Promise<void> {
    const parts = await this.#assemble();
    const { outbox, journal, clockState, link, intake, gateway } = parts;
    const { log } = this.#options;
    await intake.open();
    await clockState.checkTimesyncd();
    // What a crash or a damaged card took is declared before anything new.
    for (const { boot, ranges } of outbox.holes()) await outbox.drop(boot, ranges);
    if (outbox.undeclared().length > 0) await journal.declareLosses();
    await parts.sampler.start();
    for (const [event, detail] of this.#early ?? []) await journal.event(event, detail);
    this.#early = undefined;
    await parts.remote.started();
    await gateway?.start();
    log.info('agent started', {
      device: parts.membership.deviceId,
      network: parts.membership.network,
      boot: bootKey(parts.boot),
      pending: outbox.stats().pending,
    });
    link.start();
    intake.start();
    this.#writer?.start();
  }

  /** Seals what was sampled, makes it durable, disconnects, and closes. */
  async end(): Promise<void> {
    const parts = this.#parts;
    if (parts === undefined) return;
    this.#isEnding = true;
    const { log } = this.#options;
    parts.intake.stop();
    this.#writer?.stop();
    await parts.gateway?.stop();
    await parts.remote.stop();
    await parts.sampler.stop();
    await parts.intake.seal('final');
    await parts.journal.event('stopping', {});
    await parts.outbox
      .sync()
      .catch((error: unknown) => log.error('outbox not synced', { reason: reasonOf(error) }));
    await parts.link.stop(STOP_PATIENCE_MS);
    await parts.receiptFile.flush();
    await this.#writer?.publish({ isLast: true });
    this.#parts = undefined;
    await this.close();
  }

  /** Closes the files, also after a start that failed half way. */
  async close(): Promise<void> {
    const { log } = this.#options;
    this.#parts = undefined;
    let isClosed = true;
    await this.#outbox?.close().catch((error: unknown) => {
      isClosed = false;
      log.error('outbox not closed', { reason: reasonOf(error) });
    });
    this.#outbox = undefined;
    // What could not be spilled waits there for the next start.
    await this.#memory?.close(!isClosed);
    this.#memory = undefined;
    await this.#intake?.close();
    this.#intake = undefined;
  }

  async #assemble(): Promise<AgentParts> {
    const { config, dataDir, clock, log, random, meter, view } = this.#options;
    const state = this.#state;
    const identity = await loadDeviceKey(dataDir);
    const joinLine = readJoinLine(await readJoinFile(dataDir, config.joinFile));
    const ownership = await loadOwnership(dataDir);
    const under = this.#options.disk;
    const parent = config.memoryFolder;
    const memory = await openMemoryFolder({ parent, state, random, log, disk: under });
    this.#memory = memory;
    const disk = meteredDisk(under, meter, writeKinds(dataDir, memory?.path));
    const outbox = await this.#openOutbox({ identity, network: joinLine.network, disk });
    const parked = new ParkedStore({
      folder: join(state, 'parked'),
      max: config.outbox.maxParked,
      disk,
    });
    await parked.open();
    const clockState = this.#makeClockState();
    const via = await currentVia(dataDir, {
      ...{ network: joinLine.network, leaf: identity.deviceId, signer: identity.signer },
      nowMs: clock.wallMs(),
    });
    const membership = new Membership({
      ...(via !== undefined && via.gateway !== null && { through: via }),
      ...{ dataDir, joinLine, identity, ownership, clock, clockState, random, log, disk },
      ...{ name: config.name, cell: config.cell, agent: AGENT_VERSION },
      timeoutMs: config.link.timeoutMs,
    });
    await membership.load();
    const receiptFile = new ReceiptFile({ folder: state, clock, log, disk });
    await receiptFile.open((bytes) => {
      const message = openKept('receipt', bytes, membership);
      if (message.kind !== 'receipt') throw new Error('expected a receipt');
      return message.receipt;
    });
    if (receiptFile.newest !== undefined) view.note(receiptFile.newest, membership);
    const boot = await this.#beginBoot({ identity, disk, outbox, parked, receiptFile });
    const { network } = joinLine;
    const { signer } = identity;
    const { format } = config.batch;
    const journal = new Journal({ network, signer, boot, outbox, clock: clockState, format, log });
    const settlement = new Settlement({ outbox, parked, journal, clock, log });
    const remote = makeOwnRemote({
      ...{ config, folder: state, clock, log, disk, clockState, membership, journal },
      given: this.#options.given,
      silences: this.#silences,
      parts: () => this.#parts,
      apply: (effective) => this.#apply(effective),
      onChange: () => this.#statusChanged(),
    });
    await remote.load();
    const intake = new Intake({
      ...{ config, boot, journal, clockState, clock, disk, log },
      effective: remote.effective ?? ownSettings(config),
      folder: join(state, 'raw'),
      given: this.#options.given,
      silences: this.#silences,
      onTick: () => this.#tick(),
    });
    this.#intake = intake;
    const sampler = this.#makeSampler(clockState, intake);
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
      ...linkToGateway(gateway),
      ...{ membership, signer, outbox, journal, settlement, clock, log, random, boot },
      settings: {
        ...config.link,
        get heartbeatMs() {
          return intake.effective.heartbeatMs;
        },
      },
      confirmEveryMs: config.clock.confirmEveryMs,
      isIdentityCurrent: async () => (await loadDeviceKey(dataDir)).keyId === identity.keyId,
      onIdentityChanged: () => this.#options.onRestart('the device has another key or id'),
      onCloned: () => !this.#isBootRecorded && this.#options.onBootRefused(boot),
      isQuarantined: async () => {
        const { quarantined } = await fetchStanding(membership);
        return quarantined.includes(bootKey(boot).replace('-', '.'));
      },
      birth: (nonce) => this.#birth(nonce),
      onBirthRecorded: () => {
        this.#isBootRecorded = true;
        parked.acknowledged(this.#acknowledging);
      },
      onMessage: (message, settled) => this.#heard(message, settled),
      onState: () => this.#statusChanged(),
    });
    this.#parts = {
      ...{ config, clock, meter, view, memory, outbox, parked, journal, settlement, membership },
      ...{ sampler, intake, link, receiptFile, remote, gateway, via, clockState, boot },
      owner: ownership?.owner ?? null,
    };
    const { statusFile, startMs, onStatus } = this.#options;
    this.#writer = new StatusWriter({
      ...{ dataDir, disk, clock, log, statusFile, startMs, onStatus },
      memory: memory?.path,
      status: () => this.status(),
    });
    return this.#parts;
  }

  /** Of what happens before anything can be sealed, it is sealed later. */
  #tell(event: string, detail: EventDetail): void {
    if (this.#early !== undefined) this.#early.push([event, detail]);
    else void this.#parts?.journal.event(event, detail);
  }

  async #openOutbox(own: {
    readonly identity: DeviceIdentity;
    readonly network: string;
    readonly disk: Disk;
  }): Promise<Outbox> {
    const { config, clock, log, view, refused } = this.#options;
    const { disk } = own;
    const outbox = await openOwnOutbox({
      ...{ ...own, log, refused },
      folder: join(this.#state, 'outbox'),
      front: this.#memory?.path,
      highestListed: view.highestBoot,
      open: async (folder, frontFolder) => {
        const outbox = new Outbox({
          ...config.outbox,
          ...{ folder, clock, log, disk, frontFolder },
          onDurable: () => this.#parts?.link.wake(),
          trueTimeMs: () => this.#trueTimeMs(),
        });
        this.#outbox = outbox;
        await outbox.open();
        return outbox;
      },
    });
    for (const part of outbox.damage) {
      const what = part.reason === 'torn' ? 'a torn write was cut off' : 'damage was passed over';
      log.warn(`outbox: ${what}`, { ...part });
    }
    return outbox;
  }

  /** Unix ms by a clock that is believed. */
  #trueTimeMs(): number | null {
    const now = this.#clockState?.read();
    return now === undefined || now.boundMs === null ? null : now.wallMs;
  }

  #makeClockState(): ClockState {
    const { config, clock, root, log } = this.#options;
    const clockState = new ClockState({
      ...{ clock, root, ...config.clock },
      onStep: (byMs) => {
        log.warn('the clock was set; not believed until it is confirmed', { byMs });
        this.#tell('clock-step', { byMs });
        this.#parts?.link.confirmSoon();
      },
      onSynced: (boundMs, by) => {
        log.info('clock confirmed', { boundMs, by });
        this.#tell('clock-synced', { boundMs, by });
        this.#intake?.sealFirst();
        void this.#parts?.remote.check();
      },
    });
    this.#clockState = clockState;
    return clockState;
  }

  async #beginBoot(known: {
    readonly identity: DeviceIdentity;
    readonly disk: Disk;
    readonly outbox: Outbox;
    readonly parked: ParkedStore;
    readonly receiptFile: ReceiptFile;
  }): Promise<Boot> {
    const { random, log, view } = this.#options;
    const { identity, disk, outbox, parked, receiptFile } = known;
    const { newest } = receiptFile;
    const boot = await beginBoot({
      ...{ folder: this.#state, random, disk },
      atLeast: Math.max(
        ...[outbox.highestBootCounter, parked.highestBootCounter, identity.firstBoot - 1],
        ...[view.highestBoot, ...(newest?.boots ?? []).map(([counter]) => counter)],
      ),
      wasHere: newest !== undefined || outbox.highestBootCounter > 0,
    });
    if (boot.hasLeapt) {
      log.warn('the count of boots was lost; it goes on well above what is known', {
        boot: boot.counter,
      });
      this.#tell('boot-count-lost', { boot: boot.counter });
    } else if (boot.wasDamaged) {
      log.warn('one of the two files that count boots was damaged; both are whole again', {
        boot: boot.counter,
      });
    }
    return boot;
  }

  #makeSampler(clockState: ClockState, intake: Intake): Sampler {
    const { dataDir, root, loadDriver, clock, log } = this.#options;
    return new Sampler({
      ...{ sensors: intake.effective.sensors, dataDir, root, loadDriver, clock, log },
      bootMs: () => clockState.bootMs(),
      offsetMs: () => clockState.read().offsetMs,
      boundMs: () => clockState.read().boundMs,
      onReadings: (readings) => intake.take(readings),
      onFailed: (profile, reason) =>
        this.#tell('sensor-failed', { profile, reason: reason.slice(0, 200) }),
      onRecovered: (profile) => this.#tell('sensor-recovered', { profile }),
    });
  }

  /** Goes over to other settings within the boot; a new session says so. */
  async #apply(effective: EffectiveSettings): Promise<void> {
    const parts = this.#parts;
    parts?.intake.use(effective);
    if (parts === undefined || this.#isEnding) return;
    await parts.sampler.change(effective.sensors);
    await parts.intake.goOver();
    parts.link.renew('the configuration has changed');
  }

  #tick(): void {
    const { clock } = this.#options;
    const { clockState, remote, journal } = this.#parts!;
    // Also looks for a step of the clock while there is nothing to seal.
    clockState.read();
    void clockState.checkTimesyncd();
    void remote.check();
    const nowMs = clock.monotonicMs();
    if (nowMs < this.#expireAtMs) return;
    this.#expireAtMs = nowMs + EXPIRE_EVERY_MS;
    void journal.expire();
  }

  #birth(nonce: Uint8Array | null): ReturnType<Journal['birth']> {
    const { config, view } = this.#options;
    const { journal, sampler, intake, parked, remote } = this.#parts!;
    this.#acknowledging = parked.toAcknowledge();
    const birth = {
      ...{ nonce, source: config.source, sampler, intake, remote, head: view.head },
      rejects: this.#acknowledging,
    };
    return journal.birth((now) => encodeOwnBirth(birth, now));
  }

  #heard(message: DownMessage, settled: number): void {
    const { receiptFile, membership, remote } = this.#parts!;
    if (message.kind === 'receipt') {
      const { receipt, bytes } = message;
      void receiptFile.keep({ receipt, bytes });
      this.#options.view.heard(receipt, membership);
      if (settled > 0) this.#noteFirstReading(receipt.at);
    } else if (message.kind === 'config' && message.type === DESIRED_STATE_TYPE) {
      void remote.receive(message.bytes, message.payload);
    } else this.#statusChanged();
  }

  /** What the owner waits for after `init`: the first reading that the network has. */
  #noteFirstReading(atMs: number): void {
    const { view, log } = this.#options;
    const { journal, outbox, boot } = this.#parts!;
    const seq = journal.firstTelemetrySeq;
    if (view.firstRecordedMs !== null || seq === undefined || outbox.isPending(boot, seq)) return;
    view.firstRecorded(atMs);
    log.info('first reading recorded', { at: new Date(atMs).toISOString() });
    this.#statusChanged();
  }

  #statusChanged(): void {
    void this.#writer?.publish();
  }
}

/** What the link of a gateway does for its leaves. */
function linkToGateway(gateway: Gateway | undefined) {
  if (gateway === undefined) return {};
  return {
    onPrepared: () => gateway.fileDelegations(),
    onRelayDown: (message: Uint8Array) => gateway.relayDown(message),
    onReject: (reject: Reject) => gateway.rejected(reject),
  };
}
