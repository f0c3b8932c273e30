/**
 * The guard in front of the brokers: hands on whole, well-formed packets only, within limits.
 *
 * Aedes 1.2 takes packets of any size, even before login, and leaves some malformed ones to the protocol handlers.
 * It reads its connection with `read()`; the guard stands there, so it costs neither a stream nor a copy
 * unless a packet arrives in pieces.
 */

import type { Duplex } from 'node:stream';
import type { Holding } from './held-packets.ts';
import { checkPacket, countAsked, PACKET, type Violation } from './packet-rules.ts';

export interface GuardLimits {
  /** Longest CONNECT, fixed header aside: what a stranger may make us hold. */
  readonly maxConnectBytes: number;
  /** Longest packet of a client that has sent its CONNECT. */
  readonly maxPacketBytes: number;
}

const EMPTY = Buffer.alloc(0);

/** Why a connection was ended. */
export type GuardVerdict = Violation | { readonly clause: 'size' | 'first packet' | 'filters' };

/** What may follow a CONNECT. */
export interface Following {
  /** Longest packet. */
  readonly maxPacketBytes: number;
  /** Filters in one packet; none: as many as it has room for. */
  readonly maxFilters?: number;
}

/**
 * Told of the CONNECT, without its fixed header.
 *
 * @returns what may follow, or why the connection must end.
 */
export type OnConnect = (body: Buffer) => Following | Violation;

/** Splits a stream into packets and checks each. Pure but for what it keeps of an unfinished packet. */
export class PacketGuard {
  private readonly maxConnectBytes: number;
  private maxPacketBytes: number;
  private maxFilters = Number.POSITIVE_INFINITY;
  private readonly hooks: { readonly onConnect?: OnConnect };
  /** The beginning of an unfinished packet: the first `held` bytes of `rest`. */
  private rest: Buffer = EMPTY;
  private held = 0;
  /** How many bytes the unfinished packet needs, as far as known. */
  private needed = 0;
  private connectSeen = false;
  private others = 0;
  private waits = false;

  constructor(
    { maxConnectBytes, maxPacketBytes }: GuardLimits,
    hooks: { readonly onConnect?: OnConnect } = {},
  ) {
    this.maxConnectBytes = maxConnectBytes;
    this.maxPacketBytes = maxPacketBytes;
    this.hooks = hooks;
  }

  /** Whether `push` has left whole packets behind: an empty chunk gets more of them. */
  get isWaiting(): boolean {
    return this.waits;
  }

  /** Memory that is held for what `push` has left behind. */
  get heldBytes(): number {
    return this.rest.length;
  }

  /** Packets handed on that are no PUBLISH, each filter as one, since this was last asked. */
  takeOthers(): number {
    const { others } = this;
    this.others = 0;
    return others;
  }

  /** Gives away what is held. */
  takeHeld(): Buffer {
    const held = this.rest.subarray(0, this.held);
    this.rest = EMPTY;
    this.held = 0;
    this.waits = false;
    return held;
  }

  /**
   * Takes what came from the socket.
   *
   * @param allowance - how many packets to hand on at most; the others stay for the next call.
   * @returns the whole packets in it, null when there is none yet, or why the connection must end.
   */
  push(chunk: Buffer, allowance = Number.POSITIVE_INFINITY): Buffer | null | GuardVerdict {
    let bytes = chunk;
    if (this.held > 0) {
      this.hold(chunk);
      if (this.held < this.needed) return null;
      bytes = this.rest.subarray(0, this.held);
      this.rest = EMPTY;
      this.held = 0;
    }
    let at = 0;
    let packets = 0;
    let allowed = allowance;
    let verdict: GuardVerdict | null = null;
    this.needed = 0;
    this.waits = false;
    while (at < bytes.length) {
      const first = bytes[at]!;
      const head = readLength(bytes, at + 1);
      verdict = this.judgeHead(first, head);
      if (verdict !== null || head === null || head === 'too long') break;
      const end = head.bodyAt + head.length;
      if (end > bytes.length) {
        this.needed = end - at;
        break;
      }
      if (packets >= allowed) {
        this.waits = true;
        break;
      }
      const body = bytes.subarray(head.bodyAt, end);
      verdict = checkPacket(first, body) ?? this.takePacket(first, body);
      if (verdict !== null) break;
      // [MQTT-3.1.4-5] A client may send on before its CONNACK: that waits here.
      if (first >> 4 === PACKET.connect) allowed = 1;
      packets += 1;
      at = end;
    }
    if (verdict !== null) {
      if (at === 0) return verdict;
      // What came before is dealt with first; a DISCONNECT, for one, after which nothing else counts.
      this.waits = true;
    }
    if (this.waits) {
      this.rest = bytes.subarray(at);
      this.held = this.rest.length;
    } else if (at < bytes.length) this.hold(bytes.subarray(at));
    return at === 0 ? null : bytes.subarray(0, at);
  }

  private judgeHead(first: number, head: ReturnType<typeof readLength>): GuardVerdict | null {
    const isConnect = first >> 4 === PACKET.connect;
    if (!this.connectSeen && !isConnect) return { clause: 'first packet' };
    if (this.connectSeen && isConnect) return { clause: 'MQTT-3.1.0-2' };
    if (head === 'too long') return { clause: '2.2.3 remaining length' };
    const max = this.connectSeen ? this.maxPacketBytes : this.maxConnectBytes;
    return head !== null && head.length > max ? { clause: 'size' } : null;
  }

  private takePacket(first: number, body: Buffer): GuardVerdict | null {
    if (first >> 4 === PACKET.publish) return null;
    if (!this.connectSeen) {
      this.connectSeen = true;
      const answer = this.hooks.onConnect?.(body);
      if (answer !== undefined && 'clause' in answer) return answer;
      if (answer !== undefined) {
        this.maxPacketBytes = answer.maxPacketBytes;
        this.maxFilters = answer.maxFilters ?? Number.POSITIVE_INFINITY;
      }
    }
    const asked = countAsked(first, body);
    if (asked > this.maxFilters) return { clause: 'filters' };
    this.others += asked;
    return null;
  }

  /** Appends a copy, in a buffer that doubles: a packet sent byte by byte costs linear time. */
  private hold(bytes: Buffer): void {
    const total = this.held + bytes.length;
    if (total > this.rest.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(total, Math.min(2 * total, this.needed)));
      this.rest.copy(grown, 0, 0, this.held);
      this.rest = grown;
    }
    bytes.copy(this.rest, this.held);
    this.held = total;
  }
}

export interface GuardHooks {
  /** Told once, before the connection is ended. */
  readonly onViolation: (verdict: GuardVerdict) => void;
  /** Whether nothing may be read now; whoever says so emits `readable` when it may again. */
  readonly holds: () => boolean;
  /** How many packets may be handed on now. */
  readonly allowance: () => number;
  /** Told how many packets that are no PUBLISH were handed on; each filter counts as one. */
  readonly onOthers: (packets: number) => void;
  /** Told what is held of packets, when that is or was anything. */
  readonly onHeld?: (holding: Holding) => void;
  readonly onConnect?: OnConnect;
}

/** Puts a guard between a connection and whoever reads it. */
export function guardConnection(
  connection: Duplex,
  limits: GuardLimits,
  hooks: GuardHooks,
): { readonly giveBack: (packets: Buffer) => void } {
  const guarded = new Guarded(connection, { guard: new PacketGuard(limits, hooks), hooks });
  guardedOnes.set(connection, guarded);
  connection.read = readGuarded;
  return guarded;
}

const guardedOnes = new WeakMap<Duplex, Guarded>();

/** One function for all connections: ten thousand idle ones have no closure each. */
function readGuarded(this: Duplex, size?: number): Buffer | null {
  return guardedOnes.get(this)?.read(size) ?? null;
}

class Guarded {
  private readonly connection: Duplex;
  private readonly guard: PacketGuard;
  private readonly hooks: GuardHooks;
  private readonly readAll: Duplex['read'];
  private ended = false;
  private wasHeld = false;
  private returned: Buffer | null = null;

  constructor(
    connection: Duplex,
    { guard, hooks }: { readonly guard: PacketGuard; readonly hooks: GuardHooks },
  ) {
    this.connection = connection;
    this.guard = guard;
    this.hooks = hooks;
    this.readAll = connection.read;
  }

  /** Gives back what was read: the next `read` returns it once more. */
  giveBack(packets: Buffer): void {
    this.returned = packets;
  }

  read(size?: number): Buffer | null {
    const { connection, guard, hooks } = this;
    if (this.ended) return null;
    if (this.returned !== null && size !== 0) {
      const packets = this.returned;
      this.returned = null;
      return packets;
    }
    // Node itself calls read(0) to start reading; that takes nothing out.
    if (size !== 0 && hooks.holds()) return null;
    const chunk: unknown = this.readAll.call(connection, size);
    if (!Buffer.isBuffer(chunk)) return null;
    const result = guard.push(chunk, hooks.allowance());
    const others = guard.takeOthers();
    if (others > 0) hooks.onOthers(others);
    // It has not been read yet: a connection whose peer has ended it ends after its last packet, not before.
    if (guard.isWaiting) connection.unshift(guard.takeHeld());
    const bytes = guard.heldBytes;
    if (bytes > 0 || this.wasHeld) {
      this.wasHeld = bytes > 0;
      hooks.onHeld?.({ bytes, isNew: result !== null });
    }
    if (result === null || Buffer.isBuffer(result)) return result;
    this.end(result);
    return null;
  }

  private end(verdict: GuardVerdict): void {
    const { connection } = this;
    this.ended = true;
    this.hooks.onViolation(verdict);
    if (!('connack' in verdict) || verdict.connack === undefined) {
      connection.destroy();
      return;
    }
    const answer = Uint8Array.of(0x20, 2, 0, verdict.connack);
    const tell = () => connection.end(answer, () => connection.destroy());
    if (verdict.delayMs) setTimeout(tell, verdict.delayMs).unref();
    else tell();
  }
}

/** The Remaining Length at an offset: null when it is cut off. Section 2.2.3. */
function readLength(
  bytes: Uint8Array,
  at: number,
): { readonly length: number; readonly bodyAt: number } | 'too long' | null {
  let length = 0;
  for (let i = 0; i < 4; i++) {
    const byte = bytes[at + i];
    if (byte === undefined) return null;
    length += (byte & 0x7f) * 128 ** i;
    if (byte < 0x80) return { length, bodyAt: at + i + 1 };
  }
  return 'too long';
}
