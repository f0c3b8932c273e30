/**
 * One leaf at its gateway, from CONNECT to the end of the connection. What it sends is kept in its order and acknowledged
 * when it is durable; what has come down for it is handed out. Whatever is not as the specification says ends it.
 */

import { createHash } from 'node:crypto';
import type { Socket } from 'node:net';
import { isLeafDownKind, isLeafKind, type LeafKind } from '@fieldproof/protocol/relay';
import { formatTopic, isDeviceIdText, parseTopic } from '@fieldproof/protocol/topics';
import { AgentError, reasonOf } from '../errors.ts';
import type { LeafMail, Letter } from './leaf-mail.ts';
import {
  CONNACK_5,
  connack,
  type LeafPacket,
  PacketReader,
  PINGRESP,
  puback,
  publish,
  suback,
  unsuback,
} from './packets.ts';

/** What a leaf may have on its way without an acknowledgement; what it sends beyond stays unread. */
const MAX_WAITING = 64;
const MAX_WAITING_BYTES = 512 * 1024;
/** Letters on their way to it. */
const MAX_LETTERS = 8;
/** What it has not taken of what was sent to it. */
const MAX_UNSENT_BYTES = 512 * 1024;
const LOGIN_MS = 10_000;
/** For a leaf that promises no keep alive. */
const LONGEST_SILENCE_MS = 300_000;

export type Kept = { readonly durable: Promise<void> } | { readonly refused: string };

export interface LeafConnectionHooks {
  readonly network: string;
  readonly nowMs: () => number;
  /** Judges a login, and makes what it brings durable. @returns the CONNACK return code. */
  readonly login: (
    leaf: string,
    password: Uint8Array,
    connection: LeafConnection,
  ) => Promise<{ readonly returnCode: number; readonly publicKey?: Uint8Array }>;
  /**
   * Keeps an envelope: resolves when it has its place, with what resolves when that is durable; or with why it is not
   * carried, since it is none of the leaf's. Waits for room.
   *
   * @throws {AgentError} ERR_AGENT_LEAF when nothing more is taken of this leaf.
   */
  readonly keep: (message: {
    readonly leaf: string;
    readonly publicKey: Uint8Array;
    readonly kind: LeafKind;
    readonly envelope: Uint8Array;
    readonly isOver: () => boolean;
  }) => Promise<Kept>;
  readonly mailOf: (leaf: string) => LeafMail;
  readonly onEnd: (connection: LeafConnection, reason: string) => void;
}

export class LeafConnection {
  readonly #socket: Socket;
  readonly #hooks: LeafConnectionHooks;
  readonly #reader = new PacketReader();
  #leaf: string | undefined;
  #publicKey: Uint8Array | undefined;
  #isLoggingIn = false;
  #lastPacketMs: number;
  #silenceMs = LOGIN_MS;
  #waiting = 0;
  #waitingBytes = 0;
  #chain: Promise<unknown> = Promise.resolve();
  /** Filters, with the QoS that was granted. */
  readonly #topics = new Map<string, 0 | 1>();
  #nextId = 1;
  readonly #sent = new Map<number, Letter>();
  #isOver = false;

  constructor(socket: Socket, hooks: LeafConnectionHooks) {
    this.#socket = socket;
    this.#hooks = hooks;
    this.#lastPacketMs = hooks.nowMs();
  }

  /** Device id, once it is logged in. */
  get leaf(): string | undefined {
    return this.#leaf;
  }

  /** @param first - bytes that were read already. */
  start(first: Uint8Array): void {
    const socket = this.#socket;
    socket.on('data', (chunk: Uint8Array) => this.#take(chunk));
    socket.on('error', () => {});
    socket.on('close', () => this.end('connection closed'));
    this.#take(first);
  }

  end(reason: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#socket.destroy();
    this.#hooks.onEnd(this, reason);
  }

  /** Ends it when no whole packet has come for too long. Asked from time to time. */
  checkSilence(): void {
    if (this.#hooks.nowMs() - this.#lastPacketMs > this.#silenceMs) this.end('silent for too long');
  }

  /** Something has come down for it. */
  deliver(): void {
    if (this.#leaf === undefined || this.#isOver || this.#isLoggingIn) return;
    const { network, mailOf } = this.#hooks;
    const mail = mailOf(this.#leaf);
    const unheard = new Set<Letter>();
    while (this.#sent.size < MAX_LETTERS) {
      const letter = mail.next(new Set([...this.#sent.values(), ...unheard]));
      if (letter === undefined) return;
      const topic = formatTopic({ network, deviceId: this.#leaf, kind: letter.kind });
      const qos = this.#hears(topic);
      if (qos === undefined) {
        unheard.add(letter);
        continue;
      }
      if (qos === 0) {
        mail.remove(letter);
        this.#write(publish(topic, letter.envelope));
        continue;
      }
      const id = this.#freeId();
      this.#sent.set(id, letter);
      this.#write(publish(topic, letter.envelope, id));
    }
  }

  #take(chunk: Uint8Array): void {
    if (this.#isOver) return;
    this.#reader.push(chunk);
    this.#read();
  }

  /** Handles what has come, as far as there is room for it; the rest waits in the reader, and in the network. */
  #read(): void {
    try {
      // A client may send on before it has its CONNACK.
      while (!this.#isOver && !this.#isFull() && !this.#isLoggingIn) {
        const packet = this.#reader.next();
        if (packet === undefined) {
          this.#socket.resume();
          return;
        }
        this.#lastPacketMs = this.#hooks.nowMs();
        this.#handle(packet);
      }
      this.#socket.pause();
    } catch (error) {
      this.end(reasonOf(error));
    }
  }

  #isFull(): boolean {
    return this.#waiting >= MAX_WAITING || this.#waitingBytes >= MAX_WAITING_BYTES;
  }

  #handle(packet: LeafPacket): void {
    if (packet.cmd === 'foreign') {
      // [MQTT-3.1.2-2]; a client of MQTT 5 reads its own answer only.
      this.#write(packet.level === 5 ? CONNACK_5 : connack(1));
      this.end(`CONNECT: expected MQTT 3.1.1, got protocol level ${packet.level}`);
      return;
    }
    if (packet.cmd === 'connect') {
      void this.#connect(packet);
      return;
    }
    if (this.#leaf === undefined) throw bad(`${packet.cmd} before CONNECT`);
    switch (packet.cmd) {
      case 'publish':
        this.#publish(this.#leaf, packet);
        return;
      case 'puback': {
        const letter = this.#sent.get(packet.id);
        this.#sent.delete(packet.id);
        if (letter !== undefined) this.#hooks.mailOf(this.#leaf).remove(letter);
        this.deliver();
        return;
      }
      case 'subscribe': {
        const codes = packet.filters.map((each) => this.#subscribe(each));
        this.#write(suback(packet.id, codes));
        this.deliver();
        return;
      }
      case 'unsubscribe':
        for (const filter of packet.filters) this.#topics.delete(filter);
        this.#write(unsuback(packet.id));
        return;
      case 'pingreq':
        this.#write(PINGRESP);
        return;
      case 'disconnect':
        // Behind what it has sent.
        void this.#chain.then(() => this.end('disconnected'));
    }
  }

  async #connect(packet: Extract<LeafPacket, { readonly cmd: 'connect' }>): Promise<void> {
    const { clientId, username, password, clean, hasWill, keepAliveSeconds } = packet;
    if (this.#isLoggingIn || this.#leaf !== undefined) return this.end('a second CONNECT');
    const isLeaf = isDeviceIdText(clientId) && username === clientId && password !== undefined;
    if (!isLeaf || !clean || hasWill) {
      this.#write(connack(!clean ? 2 : isLeaf ? 5 : 4));
      return this.end('CONNECT: not that of a leaf');
    }
    this.#isLoggingIn = true;
    try {
      const { returnCode, publicKey } = await this.#hooks.login(clientId, password, this);
      if (this.#isOver) return;
      this.#write(connack(returnCode));
      if (publicKey === undefined) return this.end(`CONNACK ${returnCode}`);
      this.#publicKey = publicKey;
      this.#leaf = clientId;
      const keptMs = keepAliveSeconds * 1500;
      this.#silenceMs = keptMs === 0 ? LONGEST_SILENCE_MS : keptMs;
      this.#lastPacketMs = this.#hooks.nowMs();
    } catch (error) {
      this.#write(connack(3));
      this.end(reasonOf(error));
    } finally {
      this.#isLoggingIn = false;
      this.#read();
    }
  }

  #publish(leaf: string, packet: Extract<LeafPacket, { readonly cmd: 'publish' }>): void {
    const { topic, payload, id } = packet;
    const { network, deviceId, kind } = parseTopic(topic);
    if (network !== this.#hooks.network || deviceId !== leaf || !isLeafKind(kind)) {
      throw bad(`PUBLISH to ${topic}: expected an up kind of its own`);
    }
    this.#waiting += 1;
    this.#waitingBytes += payload.length;
    const publicKey = this.#publicKey!;
    const isOver = (): boolean => this.#isOver;
    const message = { leaf, publicKey, kind, envelope: payload, isOver };
    const kept = this.#chain.then(() => (this.#isOver ? undefined : this.#hooks.keep(message)));
    // The next one is kept while this one becomes durable.
    this.#chain = kept.catch(() => {});
    kept
      .then((place) => {
        if (place === undefined) return;
        if ('durable' in place) return place.durable;
        // MQTT 3.1.1 has no other answer than PUBACK: it is told beside, and the leaf keeps it as it keeps any.
        this.#tellRefused(leaf, payload, place.refused);
      })
      .then(() => {
        this.#waiting -= 1;
        this.#waitingBytes -= payload.length;
        if (id !== undefined && !this.#isOver) this.#write(puback(id));
        this.#read();
      })
      .catch((error: unknown) => this.end(reasonOf(error)));
  }

  /** docs/spec/messages.md 6.6: not signed, and for people: nothing follows from it. */
  #tellRefused(leaf: string, envelope: Uint8Array, reason: string): void {
    const topic = `fp/1/${this.#hooks.network}/d/${leaf}/state`;
    if (this.#isOver || this.#hears(topic) === undefined) return;
    const refused = createHash('sha256').update(envelope).digest('hex');
    this.#write(publish(topic, Buffer.from(JSON.stringify({ refused, reason }))));
  }

  /** @returns the code for SUBACK: never above what was asked for [MQTT-3.8.4-6]. */
  #subscribe({ filter, qos }: { readonly filter: string; readonly qos: 0 | 1 }): number {
    const own = `fp/1/${this.#hooks.network}/d/${this.#leaf}/`;
    const kind = filter.startsWith(own) ? filter.slice(own.length) : '';
    if (kind !== '+' && kind !== 'state' && !isLeafDownKind(kind)) return 0x80;
    this.#topics.set(filter, qos);
    return qos;
  }

  /** With which QoS it hears a topic, undefined when it does not. */
  #hears(topic: string): 0 | 1 | undefined {
    const [one, all] = [this.#topics.get(topic), this.#topics.get(topic.replace(/[^/]+$/, '+'))];
    return one === undefined || all === 1 ? (all ?? one) : one;
  }

  #freeId(): number {
    while (this.#sent.has(this.#nextId)) this.#nextId = (this.#nextId % 65_535) + 1;
    const id = this.#nextId;
    this.#nextId = (id % 65_535) + 1;
    return id;
  }

  #write(bytes: Uint8Array): void {
    if (this.#isOver || this.#socket.destroyed) return;
    this.#socket.write(bytes);
    if (this.#socket.writableLength > MAX_UNSENT_BYTES) this.end('takes nothing of what is sent');
  }
}

function bad(what: string): AgentError {
  return new AgentError('ERR_AGENT_LEAF', what);
}
