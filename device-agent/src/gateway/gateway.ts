/**
 * Gateway mode: leaves on the local network hand in what they have sealed; it is kept in this device's own outbox, inside
 * envelopes of its own, and delivered with them. What comes down for a leaf waits until it is there.
 * docs/spec/messages.md section 6.
 *
 * It changes nothing and believes nothing: the network judges what a leaf sent, the leaf what the network says.
 */

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { equalBytes } from '@fieldproof/protocol/bytes';
import { kidOf } from '@fieldproof/protocol/ed25519';
import { verify } from '@fieldproof/protocol/ed25519-node';
import {
  MAX_RELAY_BYTES,
  parseEnvelope,
  type Signer,
  upAad,
  verifyEnvelope,
} from '@fieldproof/protocol/envelope';
import { sealGatewayHello } from '@fieldproof/protocol/gateway-login';
import {
  decodeRelay,
  decodeRelayDown,
  encodeRelay,
  type LeafKind,
} from '@fieldproof/protocol/relay';
import type { Reject } from '@fieldproof/protocol/settlement-messages';
import { type Boot, bootKey } from '../boot.ts';
import { type Clock, sleep, type TimerHandle } from '../clock.ts';
import type { ClockState } from '../clock-state.ts';
import { readIfPresent } from '../durable-file.ts';
import { AgentError, reasonOf } from '../errors.ts';
import type { Journal } from '../journal.ts';
import type { Log } from '../log.ts';
import type { Membership } from '../membership.ts';
import type { Outbox } from '../outbox.ts';
import { Carried } from './carried.ts';
import { Delegations } from './delegations.ts';
import type { GatewaySettings } from './gateway-settings.ts';
import type { GatewayStatus } from './gateway-status.ts';
import type { Kept, LeafConnection } from './leaf-connection.ts';
import { LeafMail } from './leaf-mail.ts';
import { hasExpired, judgeLeafLogin } from './login.ts';
import { LeafNonces } from './nonces.ts';
import { PassThrough } from './pass-through.ts';
import { GatewayPort } from './port.ts';

/** What comes in meanwhile is made durable together. */
const SYNC_AFTER_MS = 200;
/** While there is no room, it is looked for so often. */
const ROOM_CHECK_MS = 1000;
/** Most time between two looks at what the network has settled. */
const PRUNE_EVERY_MS = 2000;
const LISTEN_RETRY_MS = 30_000;
/** Strangers that the network is asked about: more would use up what it lets this address ask. */
const ASK_EVERY_MS = 1000;
/** Rejects that say that the network does not let this gateway relay for a leaf. */
const NO_RELAY = ['ERR_RELAY_NOT_NAMED', 'ERR_RELAY_EXPIRED'];
const NAME_BYTES = 16;
/** What the gateway's own envelope and the outbox add to a leaf's. */
const WRAPPING_BYTES = 300;

export interface GatewayOptions {
  readonly settings: GatewaySettings;
  readonly signer: Signer;
  readonly membership: Membership;
  readonly clockState: ClockState;
  readonly journal: Journal;
  readonly outbox: Outbox;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: (length: number) => Uint8Array;
  /** The state folder. */
  readonly state: string;
  /** Whether the link to the network is up. */
  readonly isOnline: () => boolean;
}

export class Gateway {
  readonly #options: GatewayOptions;
  readonly #delegations: Delegations;
  readonly #carried: Carried;
  readonly #nonces: LeafNonces;
  readonly #mail = new Map<string, LeafMail>();
  readonly #port: GatewayPort;
  readonly #counts = { taken: 0, again: 0, refused: 0, turnedAway: 0 };
  #credential: Uint8Array | null = null;
  #syncing: Promise<void> | undefined;
  #askedAtMs = Number.NEGATIVE_INFINITY;
  #prunedAtMs = Number.NEGATIVE_INFINITY;
  #portNumber = 0;
  #isStopping = false;
  /** Why it does not listen. */
  #problem: string | null = null;
  #retryTimer: TimerHandle | undefined;

  constructor(options: GatewayOptions) {
    this.#options = options;
    const { settings, clock, random, outbox, state, log, membership } = options;
    this.#delegations = new Delegations({ folder: join(state, 'leaves'), log });
    this.#carried = new Carried((boot, seq) => outbox.isPending(boot, seq));
    this.#nonces = new LeafNonces({ random, monotonicMs: () => clock.monotonicMs() });
    const passThrough = new PassThrough({
      ask: (method, path, body) => membership.ask(method, path, body),
      nowMs: () => clock.monotonicMs(),
    });
    this.#port = new GatewayPort({
      pass: (method, path, body) => passThrough.pass(method, path, body),
      ...{ listen: settings.listen, maxConnections: settings.maxConnections, clock },
      hello: (clientNonce) => this.#hello(clientNonce),
      onFull: () => {
        this.#counts.turnedAway += 1;
      },
      hooks: {
        network: membership.network,
        nowMs: () => clock.monotonicMs(),
        login: (leaf, password, connection) => this.#login(leaf, password, connection),
        keep: (message) => this.#keep(message),
        mailOf: (leaf) => this.#mailOf(leaf),
        onEnd: ({ leaf }, reason) =>
          log.debug('leaf: connection ended', { leaf: leaf ?? '', reason }),
      },
    });
  }

  /** Port that it listens at. */
  get port(): number {
    return this.#portNumber;
  }

  /** Finds what waits of its leaves, and listens; where it cannot, it tries again. */
  async start(): Promise<void> {
    await this.#delegations.open();
    await this.#readOutbox();
    await this.#listen();
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#options.clock.cancel(this.#retryTimer);
    await this.#port.stop();
  }

  /** The device's own readings go on without it. */
  async #listen(): Promise<void> {
    const { settings, log, clock } = this.#options;
    const { listen } = settings;
    try {
      this.#portNumber = await this.#port.start();
      this.#problem = null;
      log.info('gateway: listens for leaves', { listen, port: this.#portNumber });
    } catch (error) {
      this.#problem = reasonOf(error);
      log.error('gateway: does not listen', { listen, reason: this.#problem });
      this.#retryTimer = clock.after(LISTEN_RETRY_MS, () => void this.#listen());
    }
  }

  status(): GatewayStatus {
    this.#prune();
    const connected = new Set([...this.#port.connections].map(({ leaf }) => leaf));
    const leaves = [...this.#delegations.all()].map(([leaf, { isFiled, problem }]) => ({
      leaf,
      connected: connected.has(leaf),
      isFiled,
      problem,
      ...this.#carried.of(leaf),
      mail: this.#mail.get(leaf)?.size ?? 0,
    }));
    const { listen } = this.#options.settings;
    return { listen, problem: this.#problem, ...this.#counts, leaves };
  }

  /** Files the delegations that the network does not have, and drops what is over. Before anything is relayed in a session. */
  async fileDelegations(): Promise<void> {
    for (const [leaf, { said }] of [...this.#delegations.all()]) {
      if (hasExpired(said, this.#wallMs())) await this.#giveUp(leaf, 'its delegation has expired');
      else await this.#file(leaf);
    }
  }

  /**
   * A reject of this device has come. Where it says that a leaf has not named this gateway, or no more, nothing else of the
   * leaf is sent: each would be refused as well, and a session bears few rejects.
   */
  rejected({ code, boot, seq }: Pick<Reject, 'code' | 'boot' | 'seq'>): void {
    if (!NO_RELAY.includes(code) || boot === null || seq === null) return;
    const leaf = this.#carried.leafAt({ counter: boot[0], seed: boot[1] }, seq);
    if (leaf === undefined) return;
    this.#delegations.refused(leaf, code === 'ERR_RELAY_EXPIRED' ? code : null);
    void this.#giveUp(leaf, `the network does not let us relay: ${code}`)
      .then(() => this.#file(leaf))
      .catch((error: unknown) =>
        this.#options.log.warn('delegation not filed yet', { leaf, reason: reasonOf(error) }),
      );
  }

  /** A `relay-down` message has come. */
  relayDown(message: Uint8Array): void {
    const { log } = this.#options;
    try {
      const { leaf, kind, envelope } = decodeRelayDown(message);
      if (this.#delegations.get(leaf) === undefined) return;
      this.#mailOf(leaf).put({ kind, envelope: envelope.slice() });
      for (const connection of this.#port.connections) {
        if (connection.leaf === leaf) connection.deliver();
      }
    } catch (error) {
      log.warn('message for a leaf ignored', { reason: reasonOf(error) });
    }
  }

  #hello(clientNonce: Uint8Array): Uint8Array {
    const { membership, signer } = this.#options;
    const { network, deviceId: gateway } = membership;
    const nonce = this.#nonces.issue();
    const credential = this.#credential;
    return sealGatewayHello({ gateway, nonce, clientNonce, credential }, { network, signer });
  }

  async #login(
    leaf: string,
    password: Uint8Array,
    connection: LeafConnection,
  ): Promise<{ readonly returnCode: number; readonly publicKey?: Uint8Array }> {
    const { membership, settings, log } = this.#options;
    const judged = judgeLeafLogin(leaf, password, {
      network: membership.network,
      gateway: membership.deviceId,
      registryKey: membership.descriptor?.keys.registry,
      nonces: this.#nonces,
      delegations: this.#delegations,
      wallMs: this.#wallMs(),
      mayCome: (id) => settings.leaves === 'any' || settings.leaves.split(',').includes(id),
      mayAsk: () => this.#mayAsk(),
    });
    const refuse = (returnCode: number, reason: string) => {
      log.warn('leaf: not let in', { leaf, reason });
      return { returnCode };
    };
    if (!judged.ok) return refuse(judged.returnCode, judged.reason);
    const known = this.#delegations.get(leaf);
    if (known === undefined && !(await this.#hasSeat())) {
      return refuse(5, `more than gateway.maxLeaves, ${settings.maxLeaves}`);
    }
    const isOnline = this.#options.isOnline();
    // With a network at hand it is written down when that has said yes: strangers write nothing.
    if (isOnline) this.#delegations.hold(judged.delegation);
    // Or what it sends is refused before the network knows that it may.
    const isSaid = !isOnline || (await this.#file(leaf).catch(() => false));
    const problem = this.#delegations.get(leaf)?.problem ?? null;
    if (!isSaid || problem !== null) {
      if (known === undefined) await this.#delegations.forget(leaf);
      if (problem === null) return refuse(3, 'its delegation could not be filed now');
      return refuse(5, `delegation: refused by the network: ${problem}`);
    }
    if (known === undefined || !equalBytes(known.statement, judged.delegation)) {
      await this.#delegations.keep(judged.delegation);
    }
    await this.#delegations.keepKey(leaf, judged.publicKey);
    for (const other of this.#port.connections) {
      if (other.leaf === leaf && other !== connection) other.end('taken over');
    }
    log.info('leaf: connected', { leaf });
    return { returnCode: 0, publicKey: judged.publicKey };
  }

  /** Unix ms, null while the clock is not believed. */
  #wallMs(): number | null {
    const { wallMs, boundMs } = this.#options.clockState.read();
    return boundMs === null ? null : wallMs;
  }

  #mayAsk(): boolean {
    const nowMs = this.#options.clock.monotonicMs();
    if (!this.#options.isOnline() || nowMs - this.#askedAtMs < ASK_EVERY_MS) return false;
    this.#askedAtMs = nowMs;
    return true;
  }

  /** Whether another leaf has a place; one that the network does not take makes room. */
  async #hasSeat(): Promise<boolean> {
    const all = this.#delegations.all();
    if (all.size < this.#options.settings.maxLeaves) return true;
    for (const [leaf, { problem }] of all) {
      if (problem === null) continue;
      await this.#delegations.forget(leaf);
      return true;
    }
    return false;
  }

  /** Whether the network has said yes or no. */
  async #file(leaf: string): Promise<boolean> {
    const { membership } = this.#options;
    const isSaid = await this.#delegations.file(leaf, (path, body) =>
      membership.ask('POST', path, body),
    );
    const problem = this.#delegations.get(leaf)?.problem ?? null;
    if (problem !== null) await this.#giveUp(leaf, `the network does not let us relay: ${problem}`);
    return isSaid;
  }

  /** The network takes nothing of it through us: the leaf has all of it still. */
  async #giveUp(leaf: string, reason: string): Promise<void> {
    const { outbox, journal, log } = this.#options;
    for (const connection of this.#port.connections) {
      if (connection.leaf === leaf) connection.end(reason);
    }
    this.#carried.prune();
    const places = this.#carried.places(leaf);
    if (places.length === 0) return;
    const boots = new Map<string, { boot: Boot; ranges: [number, number][] }>();
    for (const { boot, seq } of places) {
      const of = boots.get(bootKey(boot)) ?? { boot, ranges: [] };
      boots.set(bootKey(boot), of);
      of.ranges.push([seq, seq]);
    }
    for (const { boot, ranges } of boots.values()) await outbox.drop(boot, ranges);
    this.#carried.prune();
    await journal.declareLosses();
    log.warn('leaf: what it had handed in is given up', { leaf, reason, envelopes: places.length });
  }

  async #keep(message: {
    readonly leaf: string;
    readonly publicKey: Uint8Array;
    readonly kind: LeafKind;
    readonly envelope: Uint8Array;
    readonly isOver: () => boolean;
  }): Promise<Kept> {
    const { leaf, envelope, kind, isOver } = message;
    const said = this.#delegations.get(leaf)?.said;
    if (said === undefined || hasExpired(said, this.#wallMs())) {
      throw new AgentError('ERR_AGENT_LEAF', 'delegation: expired');
    }
    const refused = this.#refusalOf(message);
    if (refused !== null) {
      this.#counts.refused += 1;
      this.#options.log.warn('leaf: envelope not carried', { leaf, kind, reason: refused });
      return { refused };
    }
    const name = nameOf(kind, envelope);
    if (this.#carried.has(leaf, name)) {
      this.#counts.again += 1;
      return { durable: this.#sync() };
    }
    const bytes = envelope.length + WRAPPING_BYTES;
    while (!this.#hasRoom(leaf, bytes)) {
      await sleep(this.#options.clock, ROOM_CHECK_MS);
      if (isOver() || this.#isStopping) throw new AgentError('ERR_AGENT_LEAF', 'no room for it');
    }
    const place = await this.#options.journal.relay(encodeRelay(message));
    this.#carried.add(leaf, name, { ...place, bytes });
    this.#counts.taken += 1;
    return { durable: this.#sync() };
  }

  /**
   * Why an envelope is not the leaf's, or null. What the network would refuse as not the leaf's never becomes part of one of
   * ours: those rejects would be this device's own (docs/spec/messages.md 6.3).
   */
  #refusalOf(message: {
    readonly leaf: string;
    readonly publicKey: Uint8Array;
    readonly kind: LeafKind;
    readonly envelope: Uint8Array;
  }): string | null {
    const { leaf, publicKey, kind, envelope } = message;
    const externalAad = upAad(this.#options.membership.network, kind);
    try {
      const parsed = parseEnvelope(envelope);
      const { stamp, kid } = parsed;
      if (stamp === null) return 'envelope: expected a stamp';
      const keys = [publicKey, ...this.#delegations.keysOf(leaf)];
      const signing = keys.find((key) => equalBytes(kidOf(key), kid));
      if (signing === undefined) {
        return 'kid: expected that of the login or of an earlier one at this gateway';
      }
      const isTheLeafs = verifyEnvelope(parsed, { externalAad, publicKey: signing, verify });
      return isTheLeafs ? null : 'signature: does not verify under the leaf’s key for this kind';
    } catch (error) {
      return reasonOf(error);
    }
  }

  #hasRoom(leaf: string, bytes: number): boolean {
    const { settings, outbox } = this.#options;
    const fits = (): boolean =>
      this.#carried.bytes + bytes <= settings.maxBytes &&
      this.#carried.of(leaf).bytes + bytes <= settings.maxBytesPerLeaf &&
      !outbox.isFull(2 * bytes);
    if (fits()) return true;
    this.#prune();
    return fits();
  }

  /** Looks what the network has settled, not too often: there may be very many. */
  #prune(): void {
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs - this.#prunedAtMs < PRUNE_EVERY_MS) return;
    this.#prunedAtMs = nowMs;
    this.#carried.prune();
  }

  /** One sync for all who ask within a while. */
  #sync(): Promise<void> {
    const { clock, outbox } = this.#options;
    this.#syncing ??= sleep(clock, SYNC_AFTER_MS).then(() => {
      this.#syncing = undefined;
      // Not in a memory folder: a leaf is told that it is kept.
      return outbox.spill();
    });
    return this.#syncing;
  }

  #mailOf(leaf: string): LeafMail {
    const known = this.#mail.get(leaf) ?? new LeafMail();
    this.#mail.set(leaf, known);
    return known;
  }

  /** What earlier runs have taken and the network has not settled. */
  async #readOutbox(): Promise<void> {
    const { outbox, state } = this.#options;
    this.#credential = (await readIfPresent(join(state, 'credential.cose'))) ?? null;
    const cursor = outbox.cursor();
    try {
      for (let item = await cursor.next(); item !== undefined; item = await cursor.next()) {
        if (item.kind !== 'relay') continue;
        const { leaf, kind, envelope } = decodeRelay(
          parseEnvelope(item.bytes, MAX_RELAY_BYTES).payload,
        );
        const bytes = envelope.length + WRAPPING_BYTES;
        this.#carried.add(leaf, nameOf(kind, envelope), { boot: item.boot, seq: item.seq, bytes });
      }
    } finally {
      await cursor.close();
    }
  }
}

/** What a leaf sends again is known by all of its bytes: another envelope under the same seq is the network's to see. */
function nameOf(kind: LeafKind, envelope: Uint8Array): string {
  const hash = createHash('sha256').update(kind).update('/').update(envelope);
  return hash.digest().subarray(0, NAME_BYTES).toString('latin1');
}
