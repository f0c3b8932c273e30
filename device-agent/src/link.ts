/**
 * Keeps the device connected: hello, login, session, and again after a growing pause, for ever. Without a
 * network the rest of the agent goes on.
 */

import { toBase64url } from '@fieldproof/protocol/bytes';
import type { Signer } from '@fieldproof/protocol/envelope';
import type { Reject } from '@fieldproof/protocol/settlement-messages';
import { sealLogin } from '@fieldproof/protocol/statements';
import type { IClientOptions, MqttClient } from 'mqtt';
import type { Boot } from './boot.ts';
import { type Clock, sleep, sleepUntil, type TimerHandle } from './clock.ts';
import { dial } from './dial.ts';
import type { DownMessage } from './down-message.ts';
import { AGENT_ERRORS, AgentError, codeOf, reasonOf } from './errors.ts';
import type { Journal } from './journal.ts';
import type { Log } from './log.ts';
import type { Membership, MqttAddress } from './membership.ts';
import type { Outbox } from './outbox.ts';
import type { PendingEnvelope } from './outbox-cursor.ts';
import { untilReleased } from './quarantine.ts';
import { Session } from './session.ts';
import type { Settlement } from './settlement.ts';
import { gatewayPassword, type Via } from './via.ts';

/** After a step of the clock, and the shortest pause between two confirmations. */
const CONFIRM_SOON_MS = 1000;
/** Between confirmations while the clock is not believed: it may have been set right meanwhile. */
const CONFIRM_UNSYNCED_MS = 60_000;
/** Without a believed clock, between births: 250 ppm are 0.9 s an hour. */
const ANCHOR_EVERY_MS = 3_600_000;

export type LinkState = 'stopped' | 'connecting' | 'online' | 'unreachable' | 'refused';

export interface LinkStatus {
  readonly state: LinkState;
  /** Why it is not online. */
  readonly reason: string | null;
  /** Unix ms, of the last change. */
  readonly sinceMs: number;
  readonly inFlight: number;
}

export interface LinkOptions {
  readonly membership: Membership;
  readonly signer: Signer;
  readonly settings: {
    readonly window: number;
    readonly heartbeatMs: number;
    readonly keepAliveSeconds: number;
    readonly timeoutMs: number;
    readonly backoffMinMs: number;
    readonly backoffMaxMs: number;
  };
  /** How often a hello confirms the clock while connected. */
  readonly confirmEveryMs: number;
  readonly outbox: Outbox;
  readonly journal: Journal;
  readonly settlement: Settlement;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: (length: number) => Uint8Array;
  /** Whether key and id of the device are still those that this link was made with. */
  readonly isIdentityCurrent: () => Promise<boolean>;
  /** They are not, or will not be: nothing more can be sent with them. */
  readonly onIdentityChanged: () => void;
  /** The network refuses the boot of this run: whether the agent begins another one now. */
  readonly onCloned: () => boolean;
  /** Asks the network whether it still does. */
  readonly isQuarantined: () => Promise<boolean>;
  readonly boot: Boot;
  /** Of a leaf: the gateway that it goes through, in place of the broker. */
  readonly via?: (Via & { readonly gateway: string }) | undefined;
  /** The credential as it was signed. */
  readonly credential: () => Promise<Uint8Array | null>;
  /** Before a session with the network begins. */
  readonly onPrepared?: (() => Promise<void>) | undefined;
  readonly onRelayDown?: ((message: Uint8Array) => void) | undefined;
  readonly onReject?: ((reject: Reject) => void) | undefined;
  /** @param nonce - null with a gateway. */
  readonly birth: (nonce: Uint8Array | null) => Promise<PendingEnvelope>;
  readonly onBirthRecorded: () => void;
  readonly onMessage: (message: DownMessage, settled: number) => void;
  readonly onState: () => void;
}

export class Link {
  readonly #options: LinkOptions;
  #state: LinkState = 'stopped';
  #reason: string | null = null;
  #sinceMs = 0;
  #abort: AbortController | undefined;
  #loop: Promise<void> = Promise.resolve();
  #session: Session | undefined;
  #failures = 0;
  #addressIndex = 0;
  #lastReason = '';
  #confirmTimer: TimerHandle | undefined;
  #anchoredAtMs: number | undefined;
  #isConfirming = false;

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  status(): LinkStatus {
    return {
      state: this.#state,
      reason: this.#reason,
      sinceMs: this.#sinceMs,
      inFlight: this.#session?.inFlight ?? 0,
    };
  }

  start(): void {
    this.#abort = new AbortController();
    this.#options.membership.stopWith(this.#abort.signal);
    this.#loop = this.#run(this.#abort.signal);
  }

  /** @param patienceMs - how long an open session may still deliver what is durable. */
  async stop(patienceMs = 0): Promise<void> {
    const { clock } = this.#options;
    const untilMs = clock.monotonicMs() + patienceMs;
    while (this.#session?.isBusy() === true && clock.monotonicMs() < untilMs) {
      await sleep(clock, 20);
    }
    this.#abort?.abort();
    this.#session?.end('the agent stops');
    await this.#loop;
    this.#become('stopped', null);
  }

  /** Something new became durable. */
  wake(): void {
    this.#session?.wake();
  }

  /** Begins a new session, whose birth says what is so by now. */
  renew(reason: string): void {
    this.#session?.end(reason);
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      try {
        this.#become('connecting', null);
        await this.#connectOnce(signal);
      } catch (error) {
        if (signal.aborted) return;
        if (codeOf(error) === 'ERR_AGENT_IDENTITY') {
          this.#options.onIdentityChanged();
          return;
        }
        if (codeOf(error) === 'ERR_AGENT_CLONED') {
          if (this.#options.onCloned()) return;
          this.#told(error);
          // Connecting would end the session of the other one each time.
          await untilReleased({ ...this.#options, signal });
          continue;
        }
        this.#told(error);
      }
      const dueMs = clock.monotonicMs() + this.#pauseMs();
      await sleepUntil({ clock, now: () => clock.monotonicMs(), dueMs, signal });
    }
  }

  async #connectOnce(signal: AbortSignal): Promise<void> {
    const { membership, journal, outbox, settlement, clock, log, settings } = this.#options;
    if (!(await this.#options.isIdentityCurrent())) {
      throw new AgentError('ERR_AGENT_IDENTITY', 'this device has another key by now');
    }
    const { via } = this.#options;
    // Behind a gateway what is known is enough, once there is a credential.
    const isKnown = membership.credential !== undefined && membership.descriptor !== undefined;
    const isRelayed = via !== undefined;
    const nonce = isRelayed && isKnown ? null : (await membership.prepare()).nonce;
    if (signal.aborted) return;
    if (!isRelayed) await this.#options.onPrepared?.();
    const client = isRelayed
      ? await this.#loginAtGateway(via, signal)
      : await this.#login(nonce!, signal);
    try {
      const session = new Session({
        client,
        network: membership.network,
        deviceId: membership.deviceId,
        keys: () => membership.descriptor!.keys,
        refreshKeys: () => membership.refreshDescriptor(),
        window: settings.window,
        heartbeatMs: settings.heartbeatMs,
        boot: this.#options.boot,
        outbox,
        journal,
        settlement,
        clock,
        log,
        birth: () => this.#options.birth(isRelayed ? null : nonce),
        onRelayDown: this.#options.onRelayDown,
        onReject: this.#options.onReject,
        isRelayed,
        onBirthRecorded: this.#options.onBirthRecorded,
        onMessage: this.#options.onMessage,
      });
      this.#session = session;
      // A relayed birth is not fresh, so it brings no time anchor.
      this.#anchoredAtMs = isRelayed ? undefined : clock.monotonicMs();
      if (signal.aborted) return;
      this.#failures = 0;
      this.#become('online', null);
      const { deviceId: device, network } = membership;
      log.info('connected', { device, network, ...(via && { gateway: via.gateway }) });
      this.#confirmLater(session, isRelayed ? CONFIRM_SOON_MS : undefined);
      await session.run();
    } finally {
      clock.cancel(this.#confirmTimer);
      this.#session = undefined;
      client.removeAllListeners('close');
      client.on('error', () => {});
      client.end(true);
    }
  }

  /**
   * Confirms the clock soon: it was set, so nothing is believed until the network has said the time again.
   * Without a session the next one begins with that.
   */
  confirmSoon(): void {
    const session = this.#session;
    if (session === undefined || this.#isConfirming) return;
    this.#confirmLater(session, CONFIRM_SOON_MS);
  }

  /**
   * Confirms the clock from time to time, more often while it is not believed, and at the instant at which the
   * credential is due. A newer descriptor begins a new session.
   */
  #confirmLater(session: Session, delayMs = this.#confirmDelayMs()): void {
    const { clock, membership, log } = this.#options;
    clock.cancel(this.#confirmTimer);
    this.#confirmTimer = clock.after(delayMs, () => {
      const version = membership.descriptor?.version;
      this.#isConfirming = true;
      membership
        .prepare()
        .catch((error: unknown) => log.debug('clock not confirmed', { reason: reasonOf(error) }))
        .then(() => {
          this.#isConfirming = false;
          if (this.#session !== session) return;
          if (membership.descriptor?.version !== version) session.end('newer network descriptor');
          else if (this.#isAnchorStale()) session.end('a new time anchor');
          else this.#confirmLater(session);
        });
    });
  }

  /** A clock that is not believed drifts away from the anchor of the session's birth. */
  #isAnchorStale(): boolean {
    const { clock, membership } = this.#options;
    if (this.#anchoredAtMs === undefined || membership.isClockBelieved()) return false;
    return clock.monotonicMs() - this.#anchoredAtMs >= ANCHOR_EVERY_MS;
  }

  #confirmDelayMs(): number {
    const { membership, confirmEveryMs, via } = this.#options;
    const usualMs = membership.isClockBelieved()
      ? confirmEveryMs
      : Math.min(confirmEveryMs, CONFIRM_UNSYNCED_MS);
    // Behind a gateway the network may well be out of reach.
    const leastMs = via === undefined ? CONFIRM_SOON_MS : CONFIRM_UNSYNCED_MS;
    return Math.max(leastMs, Math.min(usualMs, membership.renewalInMs()));
  }

  /** Connects to one of the broker's addresses; another one at the next attempt. */
  async #login(nonce: Uint8Array, signal: AbortSignal): Promise<MqttClient> {
    const { membership, signer, settings, clock } = this.#options;
    const addresses = membership.mqttAddresses();
    const address = addresses[this.#addressIndex % addresses.length]!;
    const { host, port, tls } = address;
    // Before there is a socket, which would have to wait for it.
    const { MqttClient } = await import('mqtt');
    let socket: Awaited<ReturnType<typeof dial>>;
    try {
      const { timeoutMs } = settings;
      const checkPeer = membership.checkPeer(host);
      socket = await dial({ host, port, tls, timeoutMs, clock, checkPeer, signal });
    } catch (error) {
      this.#addressIndex += 1;
      throw error;
    }
    const login = sealLogin(
      { device: membership.deviceId, nonce },
      { network: membership.network, signer },
    );
    return await this.#begin(
      new MqttClient(() => socket, this.#clientOptions(toBase64url(login))),
      {
        address,
        signal,
      },
    );
  }

  async #loginAtGateway(
    via: Via & { readonly gateway: string },
    signal: AbortSignal,
  ): Promise<MqttClient> {
    const { membership, signer, settings, clock, random, credential } = this.#options;
    const { network, deviceId: leaf, descriptor } = membership;
    const { timeoutMs } = settings;
    const { MqttClient } = await import('mqtt');
    const password = await gatewayPassword(via, {
      ...{ network, leaf, signer, random, timeoutMs, clock, signal },
      registryKey: descriptor?.keys.registry,
      credential: await credential(),
    });
    const address = { host: via.host, port: via.port, tls: false };
    const socket = await dial({ ...address, timeoutMs, clock, signal });
    const client = new MqttClient(() => socket, this.#clientOptions(password));
    return await this.#begin(client, { address, signal });
  }

  #clientOptions(password: string): IClientOptions {
    const { membership, settings } = this.#options;
    return {
      protocolVersion: 4,
      clientId: membership.deviceId,
      username: membership.deviceId,
      password,
      clean: true,
      keepalive: settings.keepAliveSeconds,
      connectTimeout: settings.timeoutMs,
      reconnectPeriod: 0,
      resubscribe: false,
      queueQoSZero: false,
      // Else mqtt-packet builds 65,536 small buffers: 19 MiB on a device.
      writeCache: false,
      timerVariant: 'native',
    };
  }

  #begin(
    client: MqttClient,
    { address, signal }: { readonly address: MqttAddress; readonly signal: AbortSignal },
  ): Promise<MqttClient> {
    // Between the login and the session nobody listens; `close` says the same.
    client.on('error', () => {});
    return accepted(client, address, signal);
  }

  #told(error: unknown): void {
    const refused =
      error instanceof AgentError &&
      error.code !== 'ERR_AGENT_UNREACHABLE' &&
      error.code !== 'ERR_AGENT_ANSWER_INVALID';
    const reason = error instanceof AgentError ? `${error.code} ${error.message}` : reasonOf(error);
    const wasOnline = this.#state === 'online';
    const isNews = wasOnline || this.#lastReason !== reason;
    this.#lastReason = reason;
    const remedy = refused ? { remedy: AGENT_ERRORS[error.code].remedy } : {};
    const fields = { reason, attempt: this.#failures + 1, ...remedy };
    if (!isNews) this.#options.log.debug('not connected', fields);
    else if (refused) this.#options.log.error('the network refuses this device', fields);
    else this.#options.log.warn('not connected', fields);
    this.#become(refused ? 'refused' : 'unreachable', reason);
  }

  /** Doubles with every failure, half of it by chance, so that a fleet does not return as one. */
  #pauseMs(): number {
    const { backoffMinMs, backoffMaxMs } = this.#options.settings;
    const longest = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(this.#failures, 20));
    this.#failures += 1;
    const chance = this.#options.random(2);
    const share = ((chance[0] ?? 0) * 256 + (chance[1] ?? 0)) / 65_536;
    return longest / 2 + (longest / 2) * share;
  }

  #become(state: LinkState, reason: string | null): void {
    if (this.#state === state && this.#reason === reason) return;
    if (state === 'connecting' && this.#reason !== null) {
      // Between attempts the reason stays: it is what the owner wants to know.
      this.#state = state;
      return;
    }
    this.#state = state;
    this.#reason = reason;
    this.#sinceMs = this.#options.clock.wallMs();
    this.#options.onState();
  }
}

/** Resolves when CONNACK says yes. */
function accepted(
  client: MqttClient,
  { host, port }: MqttAddress,
  signal: AbortSignal,
): Promise<MqttClient> {
  return new Promise((resolve, reject) => {
    const done = (): void => {
      client.removeListener('connect', yes);
      client.removeListener('error', no);
      client.removeListener('close', closed);
      signal.removeEventListener('abort', stopped);
    };
    const yes = (): void => {
      done();
      resolve(client);
    };
    const no = (error: unknown): void => {
      done();
      client.on('error', () => {});
      client.end(true);
      reject(refusal(error, `${host}:${port}`));
    };
    const closed = (): void => no(new Error('connection closed before CONNACK'));
    const stopped = (): void => no(new Error('the agent stops'));
    signal.addEventListener('abort', stopped, { once: true });
    client.on('connect', yes);
    client.on('error', no);
    client.on('close', closed);
  });
}

/** CONNACK return codes of docs/spec/identity.md 6.2. */
function refusal(error: unknown, where: string): AgentError {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : 0;
  if (code === 4) {
    return new AgentError('ERR_AGENT_LOGIN_REFUSED', `${where}: bad password, nonce or signature`);
  }
  if (code === 5) {
    return new AgentError('ERR_AGENT_LOGIN_REFUSED', `${where}: unknown or suspended device`);
  }
  return new AgentError('ERR_AGENT_UNREACHABLE', `${where}: ${reasonOf(error)}`, { cause: error });
}
