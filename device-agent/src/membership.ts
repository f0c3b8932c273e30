/**
 * What this device knows about its network: the pinned root key, the newest descriptor, the credential. And
 * the calls that bring them: descriptor, hello, enrol. docs/spec/identity.md sections 2 to 5.
 *
 * Nothing is sent to a server but the request for its descriptor before that descriptor has verified under
 * the root key and, over TLS, the server's chain has ended in the descriptor's CA.
 */

import { join } from 'node:path';
import { toBase64url } from '@fieldproof/protocol/bytes';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { type JoinLine, parseJoinLine } from '@fieldproof/protocol/join-line';
import {
  type Credential,
  type Descriptor,
  decodeEnrolmentAnswer,
  type Hello,
  openCredential,
  openDescriptor,
  openHello,
  sealEnrolment,
} from '@fieldproof/protocol/statements';
import type { Clock } from './clock.ts';
import type { ClockState } from './clock-state.ts';
import { type DeviceIdentity, savePlace } from './device-key.ts';
import { dial } from './dial.ts';
import { type Disk, systemDisk } from './disk.ts';
import { readIfReadable, replaceFile } from './durable-file.ts';
import { AgentError, codeOf, reasonOf } from './errors.ts';
import { type HttpAnswer, httpCall } from './http-call.ts';
import type { Log } from './log.ts';
import { checkTlsPeer } from './tls-peer.ts';

/** Between attempts to renew a credential. */
const RENEWAL_RETRY_MS = 60_000;
/** What a gateway passes on. */
const PASSED = /^\/v1\/(?:descriptor$|hello\?|enrol$)/;
const COSE_TYPE = 'application/cose; cose-type="cose-sign1"';

/** The owner's agreement, made at `init`. */
export interface Ownership {
  /** did:key of the owner. */
  readonly owner: string;
  /** COSE_Sign1 by the owner key (docs/spec/identity.md 5.2). */
  readonly statement: Uint8Array;
}

export interface MembershipOptions {
  readonly dataDir: string;
  readonly joinLine: JoinLine;
  readonly identity: DeviceIdentity;
  readonly ownership: Ownership | undefined;
  readonly name: string;
  readonly cell: string | undefined;
  readonly agent: string;
  readonly clock: Clock;
  readonly clockState: ClockState;
  readonly timeoutMs: number;
  readonly random: (length: number) => Uint8Array;
  readonly log: Log;
  readonly disk?: Disk;
  /** Of a leaf: where its gateway is, which passes on what is no secret. */
  readonly through?: { readonly host: string; readonly port: number } | undefined;
}

export interface MqttAddress {
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
}

interface AskedHello {
  readonly hello: { readonly body: Uint8Array; readonly clientNonce: Uint8Array };
  readonly sentMs: number;
  readonly receivedMs: number;
}

export class Membership {
  readonly #options: MembershipOptions;
  #descriptor: Descriptor | undefined;
  #credential: Credential | undefined;
  #fetching: Promise<Descriptor> | undefined;
  #signal: AbortSignal | undefined;
  /** Unix ms before which a renewal that failed is not tried again. */
  #renewalRetryMs = 0;
  /** The server's time at the last hello, with the monotonic time of its answer. */
  #serverTime: { readonly atMs: number; readonly unixMs: number } | undefined;

  constructor(options: MembershipOptions) {
    this.#options = options;
  }

  get network(): string {
    return this.#options.joinLine.network;
  }

  get deviceId(): string {
    return this.#options.identity.deviceId;
  }

  /** The newest verified descriptor, undefined before the first contact. */
  get descriptor(): Descriptor | undefined {
    return this.#descriptor;
  }

  get credential(): Credential | undefined {
    return this.#credential;
  }

  /** Reads what earlier runs kept. A file that no longer verifies is left out, and told. */
  async load(): Promise<void> {
    const { dataDir, joinLine, log, disk } = this.#options;
    const kept = await readIfReadable(join(dataDir, 'state', 'descriptor.cose'), { log, disk });
    if (kept !== undefined) {
      try {
        this.#descriptor = openDescriptor(kept, this.#root());
      } catch (error) {
        log.warn('kept descriptor is not of this network', { reason: reasonOf(error) });
      }
    }
    const credential = await readIfReadable(join(dataDir, 'state', 'credential.cose'), {
      log,
      disk,
    });
    if (credential === undefined || this.#descriptor === undefined) return;
    try {
      this.#credential = this.#openCredential(credential);
    } catch (error) {
      log.warn('kept credential does not verify', {
        network: joinLine.network,
        reason: reasonOf(error),
      });
    }
  }

  /**
   * Makes sure of descriptor, time and credential, and gives a nonce for a login.
   *
   * @throws {AgentError} ERR_AGENT_UNREACHABLE, ERR_AGENT_CA_MISMATCH, ERR_AGENT_DESCRIPTOR,
   * ERR_AGENT_ENROL_REFUSED, ERR_AGENT_ANSWER_INVALID; ERR_AGENT_IDENTITY when it has taken the place of a device, and all is to
   * be loaded again.
   */
  async prepare(): Promise<{ readonly nonce: Uint8Array }> {
    if (this.#descriptor === undefined) await this.fetchDescriptor();
    const hello = await this.hello();
    if (this.#renewalMs() > hello.time) return { nonce: hello.nonce };
    try {
      await this.enrol(hello.nonce);
    } catch (error) {
      // A renewal has a third of the credential's life to succeed in.
      if (this.#credential === undefined || hello.time >= this.#credential.expires) throw error;
      this.#options.log.warn('credential not renewed', { reason: reasonOf(error) });
      this.#renewalRetryMs = hello.time + RENEWAL_RETRY_MS;
    }
    return { nonce: (await this.hello()).nonce };
  }

  /** Asks the server, once it is known by the descriptor; `statement` is a COSE_Sign1. */
  ask(method: 'GET' | 'POST', path: string, statement?: Uint8Array): Promise<HttpAnswer> {
    const body = statement && { type: COSE_TYPE, bytes: statement };
    return this.#call(method, path, { trusted: true, ...(body && { body }) });
  }

  /** Calls that are under way, and later ones, end when the signal is given. */
  stopWith(signal: AbortSignal): void {
    this.#signal = signal;
  }

  isClockBelieved(): boolean {
    return this.#options.clockState.read().boundMs !== null;
  }

  /** How long until the credential is due for renewal, ms; by the server's clock, not by ours. */
  renewalInMs(): number {
    if (this.#credential === undefined || this.#serverTime === undefined) return 0;
    const { atMs, unixMs } = this.#serverTime;
    return Math.max(0, this.#renewalMs() - unixMs - (this.#options.clock.monotonicMs() - atMs));
  }

  /** Fetches the descriptor and keeps it, if it is not older than the one that is known. One fetch for all who ask meanwhile. */
  fetchDescriptor(): Promise<Descriptor> {
    this.#fetching ??= this.#fetchDescriptor().finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  /** Fetches the descriptor in the middle of a session; whether it is a newer one. */
  async refreshDescriptor(): Promise<boolean> {
    const before = this.#descriptor?.version ?? 0;
    const { version } = await this.fetchDescriptor();
    if (version > before) this.#options.log.info('newer network descriptor', { version });
    return version > before;
  }

  async #keep(name: string, bytes: Uint8Array): Promise<void> {
    const { dataDir, disk = systemDisk } = this.#options;
    await replaceFile(join(dataDir, 'state', name), bytes, { disk });
  }

  async #fetchDescriptor(): Promise<Descriptor> {
    // Not secret, and verified by its signature: the one request that is sent to an unproved server.
    const answer = await this.#call('GET', '/v1/descriptor', { trusted: false });
    if (answer.status !== 200) throw refused('/v1/descriptor', answer);
    const descriptor = this.#verifyDescriptor(answer.body);
    if (descriptor.version !== this.#descriptor?.version) {
      await this.#keep('descriptor.cose', answer.body);
    }
    this.#take(descriptor);
    return descriptor;
  }

  /** Asks for the server's time and a nonce; confirms the clock; follows to a newer descriptor. */
  async hello(): Promise<Hello> {
    for (let attempt = 0; ; attempt += 1) {
      const descriptor = this.#descriptor ?? (await this.fetchDescriptor());
      let asked: AskedHello;
      try {
        asked = await this.#askHello();
      } catch (cause) {
        // The network may have another CA by now: its newest descriptor tells, whoever hands it over.
        const before = descriptor.version;
        const canRetry = attempt === 0 && codeOf(cause) === 'ERR_AGENT_CA_MISMATCH';
        if (canRetry && (await this.fetchDescriptor()).version > before) continue;
        throw cause;
      }
      const { hello, sentMs, receivedMs } = asked;
      try {
        const opened = openHello(hello.body, {
          network: this.network,
          publicKey: descriptor.keys.registry,
          verify,
          clientNonce: hello.clientNonce,
        });
        this.#options.clockState.confirm({ sentMs, receivedMs, serverMs: opened.time });
        this.#serverTime = { atMs: receivedMs, unixMs: opened.time };
        if (opened.descriptor > descriptor.version) await this.fetchDescriptor();
        this.#checkExpiry(opened.time);
        return opened;
      } catch (cause) {
        if (cause instanceof AgentError) throw cause;
        // The registry's key may have been replaced: the newest descriptor tells.
        const before = descriptor.version;
        const canRetry = attempt === 0 && codeOf(cause) === 'ERR_SIGNATURE_INVALID';
        if (canRetry && (await this.fetchDescriptor()).version > before) continue;
        throw new AgentError('ERR_AGENT_ANSWER_INVALID', `hello: ${reasonOf(cause)}`, { cause });
      }
    }
  }

  /** Enrols, or renews the credential. The token is sent only while there is no credential. */
  async enrol(nonce: Uint8Array): Promise<Credential> {
    const { identity, ownership, joinLine, name, cell, agent, log } = this.#options;
    if (ownership === undefined) {
      throw new AgentError('ERR_AGENT_OWNER', 'owner: expected one, got none; run init');
    }
    const known = this.#credential !== undefined;
    const bytes = sealEnrolment(
      {
        nonce,
        token: known ? null : joinLine.token,
        key: identity.signer.publicKey,
        owner: ownership.owner,
        ownership: ownership.statement,
        name,
        ...(cell === undefined ? {} : { cell }),
        agent,
      },
      { network: this.network, signer: identity.signer },
    );
    const body = { type: COSE_TYPE, bytes };
    const answer = await this.#call('POST', '/v1/enrol', { trusted: true, body, isSecret: !known });
    if (answer.status < 200 || answer.status > 299) {
      const { code = `HTTP ${answer.status}`, detail = '' } = answer.problem ?? {};
      throw new AgentError('ERR_AGENT_ENROL_REFUSED', `enrol: ${code} ${detail}`.trim());
    }
    try {
      const enrolled = decodeEnrolmentAnswer(answer.body);
      const descriptor = this.#verifyDescriptor(enrolled.descriptor);
      await this.#keep('descriptor.cose', enrolled.descriptor);
      this.#take(descriptor);
      const credential = this.#openOwnCredential(enrolled.credential);
      if (credential.device !== this.deviceId) await this.#takePlace(credential);
      await this.#keep('credential.cose', enrolled.credential);
      if (credential.device !== this.deviceId) {
        const message = `this device goes on as ${credential.device}, whose place it takes`;
        throw new AgentError('ERR_AGENT_IDENTITY', message);
      }
      this.#credential = credential;
      log.info(known ? 'credential renewed' : 'enrolled', {
        device: credential.device,
        owner: credential.owner,
        group: credential.group,
        cell: credential.cell,
      });
      return credential;
    } catch (cause) {
      if (cause instanceof AgentError) throw cause;
      throw new AgentError('ERR_AGENT_ANSWER_INVALID', `enrol: ${reasonOf(cause)}`, { cause });
    }
  }

  /**
   * Where the broker may be, best first: at the host of the join line, then as the descriptor says.
   *
   * @throws {AgentError} ERR_AGENT_DESCRIPTOR when no address fits the join line.
   */
  mqttAddresses(): MqttAddress[] {
    const { joinLine } = this.#options;
    const found: MqttAddress[] = [];
    for (const url of this.#descriptor?.addresses.mqtt ?? []) {
      const match = /^(mqtts?):\/\/(\[[0-9a-f:.]+\]|[^/:[\]]+)(?::(\d{1,5}))?\/?$/i.exec(url);
      if (match === null) continue;
      const tls = match[1]!.toLowerCase() === 'mqtts';
      // Without TLS only to loopback, and only where the join line says so.
      if (tls === joinLine.plain) continue;
      const port = Number(match[3] ?? (tls ? 8883 : 1883));
      const host = match[2]!.replace(/^\[|\]$/g, '');
      found.push({ host: joinLine.host, port, tls });
      if (host !== joinLine.host && (tls || isLoopback(host))) found.push({ host, port, tls });
    }
    if (found.length > 0) return found;
    throw new AgentError(
      'ERR_AGENT_DESCRIPTOR',
      `addresses: expected one with ${joinLine.plain ? 'mqtt://' : 'mqtts://'}, got none`,
    );
  }

  /** Judges a server's certificate by the descriptor; for `dial`. */
  checkPeer(host: string): (socket: import('node:tls').TLSSocket) => void {
    return (socket) => {
      const caSpkiHash = this.#descriptor?.ca;
      if (!caSpkiHash) {
        throw new AgentError('ERR_AGENT_DESCRIPTOR', 'ca: expected a key hash for TLS, got none');
      }
      const { wallMs, boundMs } = this.#options.clockState.read();
      checkTlsPeer(socket, { host, caSpkiHash, nowMs: boundMs === null ? null : wallMs });
    };
  }

  /** Unix ms from which on the device asks for a credential: at 2/3 of the life of the one it has. */
  #renewalMs(): number {
    if (this.#credential === undefined) return 0;
    const { issued, expires } = this.#credential;
    const dueMs = issued + ((expires - issued) * 2) / 3;
    return Math.min(expires, Math.max(dueMs, this.#renewalRetryMs));
  }

  /** While its file was written another one may have come. */
  #take(descriptor: Descriptor): void {
    if (descriptor.version >= (this.#descriptor?.version ?? 0)) this.#descriptor = descriptor;
  }

  #root(): { network: string; publicKey: Uint8Array; verify: typeof verify } {
    return { network: this.network, publicKey: this.#options.joinLine.rootKey, verify };
  }

  #openCredential(bytes: Uint8Array): Credential {
    const publicKey = this.#descriptor!.keys.registry;
    return openCredential(bytes, {
      network: this.network,
      publicKey,
      verify,
      device: this.deviceId,
    });
  }

  /** Of an enrolment: the network may have made this key that of another device, whose place it takes. */
  #openOwnCredential(bytes: Uint8Array): Credential {
    const { network } = this;
    const publicKey = this.#descriptor!.keys.registry;
    const key = this.#options.identity.signer.publicKey;
    const credential = openCredential(bytes, { network, publicKey, verify, key });
    const { device } = credential;
    if (device === this.deviceId || this.#credential === undefined) return credential;
    throw new AgentError(
      'ERR_AGENT_ANSWER_INVALID',
      `enrol: expected ${this.deviceId}, got ${device}`,
    );
  }

  /** Durable before the credential: without it the next start would find one of another device. */
  async #takePlace({ device, firstBoot = 0 }: Credential): Promise<void> {
    const { dataDir, identity, log } = this.#options;
    const { keyId } = identity;
    await savePlace(dataDir, { device, firstBoot, key: keyId, before: keyId });
    log.info('takes the place of a device', { device, firstBoot });
  }

  #verifyDescriptor(bytes: Uint8Array): Descriptor {
    let descriptor: Descriptor;
    try {
      descriptor = openDescriptor(bytes, this.#root());
    } catch (cause) {
      throw new AgentError('ERR_AGENT_DESCRIPTOR', `descriptor: ${reasonOf(cause)}`, { cause });
    }
    // "a device never goes back to a lower one"
    const known = this.#descriptor?.version ?? 0;
    if (descriptor.version < known) {
      throw new AgentError(
        'ERR_AGENT_DESCRIPTOR',
        `descriptor: expected version ${known} or newer, got ${descriptor.version}`,
      );
    }
    return descriptor;
  }

  #checkExpiry(nowMs: number): void {
    const { expires, version } = this.#descriptor!;
    if (nowMs <= expires) return;
    throw new AgentError(
      'ERR_AGENT_DESCRIPTOR',
      `descriptor: version ${version} expired on ${new Date(expires).toISOString()}`,
    );
  }

  async #askHello(): Promise<AskedHello> {
    const clientNonce = this.#options.random(16);
    const path = `/v1/hello?nonce=${toBase64url(clientNonce)}`;
    const answer = await this.#call('GET', path, { trusted: true });
    if (answer.status !== 200) throw refused('/v1/hello', answer);
    const { body, sentMs, receivedMs } = answer;
    return { hello: { body, clientNonce }, sentMs, receivedMs };
  }

  async #call(
    method: 'GET' | 'POST',
    path: string,
    options: {
      readonly trusted: boolean;
      readonly body?: { readonly type: string; readonly bytes: Uint8Array };
      /** There is a token in it, which is for the network alone. */
      readonly isSecret?: boolean;
    },
  ): Promise<HttpAnswer & { readonly sentMs: number; readonly receivedMs: number }> {
    const { joinLine, clock, timeoutMs, through } = this.#options;
    // Their answers are signed, and bound to what was asked: whoever passes them on need not be trusted.
    const isPassed = through !== undefined && options.isSecret !== true && PASSED.test(path);
    const { host, port } = isPassed ? through : joinLine;
    const socket = await dial({
      host,
      port,
      tls: !isPassed && !joinLine.plain,
      timeoutMs,
      clock,
      signal: this.#signal,
      checkPeer: options.trusted && !isPassed ? this.checkPeer(host) : undefined,
    });
    const authority = `${host.includes(':') ? `[${host}]` : host}:${port}`;
    const { body } = options;
    // After dialling: connecting and the handshake are no part of the round trip.
    const sentMs = clock.monotonicMs();
    const answer = await httpCall(socket, {
      method,
      host: authority,
      path,
      timeoutMs,
      signal: this.#signal,
      ...(body === undefined ? {} : { body }),
    });
    return { ...answer, sentMs, receivedMs: clock.monotonicMs() };
  }
}

/**
 * Parses a join line.
 *
 * @throws {AgentError} ERR_AGENT_JOIN_LINE
 */
export function readJoinLine(text: string): JoinLine {
  try {
    return parseJoinLine(text);
  } catch (cause) {
    throw new AgentError('ERR_AGENT_JOIN_LINE', reasonOf(cause), { cause });
  }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

function refused(path: string, answer: HttpAnswer): AgentError {
  const { code = '', detail = '' } = answer.problem ?? {};
  const reason = `${path}: HTTP ${answer.status} ${code} ${detail}`.trim();
  return new AgentError('ERR_AGENT_ANSWER_INVALID', reason);
}
