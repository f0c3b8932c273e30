/**
 * The door in front of all MQTT listeners: bounds what peers can take before they have logged in, by the address that
 * they come from and in all.
 *
 * Room is made, not refused, wherever somebody waits who has not logged in: of the address that has most of them, the
 * oldest goes. A device logs in within a few round trips, so who floods throws out its own connections. Rates are
 * refused, so that handshakes and signatures cost a bounded part of a core.
 */

import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { AddressRule } from '@fieldproof/protocol/address-share-node';
import type { BrokerConfig } from '../config.ts';
import { RateLimiter } from '../rate-limit.ts';
import { Crowd } from './crowd.ts';
import type { Slices } from './slices.ts';

export type DoorLimits = Pick<
  BrokerConfig,
  | 'maxConnections'
  | 'maxConnectionsPerAddress'
  | 'maxPending'
  | 'maxPendingPerAddress'
  | 'maxHandshakes'
  | 'handshakeTimeoutMs'
  | 'connectsPerSecond'
  | 'connectsPerSecondPerAddress'
  | 'failedLoginsPerMinute'
>;

export interface DoorOptions {
  readonly limits: DoorLimits;
  readonly shareOf: AddressRule;
  /** Counts a connection that was refused or ended, by reason. */
  readonly count: (why: string) => void;
  readonly onNotice: (event: string, detail: Readonly<Record<string, unknown>>) => void;
  /** Has those ended who are late, a few at a time. */
  readonly slices: Pick<Slices, 'add'>;
  /** A clock that never steps, ms. */
  readonly monotonicMs: () => number;
}

export interface DoorStatus {
  readonly connections: number;
  /** Those that have not logged in. */
  readonly pending: number;
  readonly handshakes: number;
}

/** How late a login beyond the limit is told that it failed. */
export const FAILED_LOGIN_DELAY_MS = 2000;

interface Visitor {
  readonly socket: Socket;
  readonly share: string;
  readonly isTrusted: boolean;
  /** Its name in the books, which it keeps when its socket has closed. */
  readonly ends: string;
  timer: NodeJS.Timeout | undefined;
  isGone: boolean;
}

export class Door {
  private readonly options: DoorOptions;
  private readonly all = new Crowd<Visitor>();
  private readonly pending = new Crowd<Visitor>();
  private readonly handshakes = new Crowd<Visitor>();
  private readonly byEnds = new Map<string, Visitor>();
  private readonly faces = new WeakMap<Duplex, Visitor>();
  private readonly connects: RateLimiter;
  private readonly connectsOfOne: RateLimiter;
  private readonly failures: RateLimiter;

  constructor(options: DoorOptions) {
    this.options = options;
    const { limits, monotonicMs } = options;
    const rate = (perSecond: number) =>
      new RateLimiter({ perSecond, burst: perSecond * 10 }, monotonicMs);
    this.connects = rate(limits.connectsPerSecond);
    this.connectsOfOne = rate(limits.connectsPerSecondPerAddress);
    const { failedLoginsPerMinute: burst } = limits;
    this.failures = new RateLimiter({ perSecond: burst / 60, burst }, monotonicMs);
  }

  /**
   * A new connection.
   *
   * @param next - `handshake`: TLS comes first, and `secured` is called after it.
   * @returns false when it was refused; it is destroyed then.
   */
  admit(socket: Socket, next: 'handshake' | 'login'): boolean {
    const { name: share, isTrusted } = this.options.shareOf(socket.remoteAddress ?? '');
    const visitor: Visitor = {
      ...{ socket, share, isTrusted, ends: next === 'handshake' ? endsOf(socket) : '' },
      ...{ timer: undefined, isGone: false },
    };
    const why = this.tooFast(visitor) ?? this.tooMany(visitor);
    if (why !== null) {
      this.refuse(visitor, why);
      return false;
    }
    this.makeRoom(visitor, next);
    this.all.add(share, visitor);
    this.pending.add(share, visitor);
    if (next === 'handshake') this.byEnds.set(visitor.ends, visitor);
    this.faces.set(socket, visitor);
    if (next === 'handshake') this.startHandshake(visitor);
    socket.once('close', () => this.strike(visitor));
    return true;
  }

  /** The TLS handshake of an admitted connection is over. @param socket - the one that TLS made of it. */
  secured(socket: Socket): void {
    const visitor = this.byEnds.get(endsOf(socket));
    if (visitor === undefined) return;
    clearTimeout(visitor.timer);
    this.handshakes.delete(visitor.share, visitor);
    this.byEnds.delete(visitor.ends);
    this.faces.set(socket, visitor);
  }

  /** Who speaks MQTT over an admitted connection is another stream: that of a WebSocket. */
  follow(stream: Duplex, socket: Socket): void {
    const visitor = this.faces.get(socket);
    if (visitor !== undefined) this.faces.set(stream, visitor);
  }

  /** Whether it has not logged in yet. */
  isPending(connection: Duplex): boolean {
    const visitor = this.faces.get(connection);
    return visitor !== undefined && this.pending.has(visitor.share, visitor);
  }

  /** It has logged in. */
  loggedIn(connection: Duplex): void {
    const visitor = this.faces.get(connection);
    if (visitor !== undefined) this.pending.delete(visitor.share, visitor);
  }

  /** Its login is refused. @returns how long to wait before it is told, ms. */
  loginFailed(connection: Duplex): number {
    const visitor = this.faces.get(connection);
    if (visitor === undefined || visitor.isTrusted) return 0;
    if (this.failures.take(visitor.share) === 0) return 0;
    this.options.count('failed logins');
    return FAILED_LOGIN_DELAY_MS;
  }

  status(): DoorStatus {
    return {
      connections: this.all.size,
      pending: this.pending.size,
      handshakes: this.handshakes.size,
    };
  }

  /** A rate that it exceeds. */
  private tooFast({ share, isTrusted }: Visitor): string | null {
    if (isTrusted) return null;
    // Who has not come lately comes in also while others come too fast.
    const isNew = this.connectsOfOne.isFull(share);
    if (this.connectsOfOne.take(share) > 0) return 'connect rate of one address';
    return this.connects.take('all') > 0 && !isNew ? 'connect rate' : null;
  }

  /** A number of connections that it exceeds, where nobody can make room. */
  private tooMany(visitor: Visitor): string | null {
    const { maxConnections, maxConnectionsPerAddress } = this.options.limits;
    const { share, isTrusted } = visitor;
    if (!isTrusted && this.all.sizeOf(share) >= maxConnectionsPerAddress) {
      const oldest = this.pending.oldestOf(share);
      if (oldest === undefined) return 'connections of one address';
      this.end(oldest, 'not logged in, of one address');
    }
    if (this.all.size >= maxConnections) {
      const oldest = this.pending.oldestOfLargest();
      if (oldest === undefined) return 'connections';
      this.end(oldest, 'not logged in');
    }
    return null;
  }

  private makeRoom({ share, isTrusted }: Visitor, next: 'handshake' | 'login'): void {
    const { maxPending, maxPendingPerAddress, maxHandshakes } = this.options.limits;
    if (!isTrusted && this.pending.sizeOf(share) >= maxPendingPerAddress) {
      this.end(this.pending.oldestOf(share), 'not logged in, of one address');
    }
    if (this.pending.size >= maxPending) {
      this.end(this.pending.oldestOfLargest(), 'not logged in');
    }
    if (next === 'handshake' && this.handshakes.size >= maxHandshakes) {
      this.end(this.handshakes.oldestOfLargest(), 'TLS handshakes');
    }
  }

  private startHandshake(visitor: Visitor): void {
    this.handshakes.add(visitor.share, visitor);
    const isLate = () =>
      this.options.slices.add(() => {
        if (!this.handshakes.has(visitor.share, visitor)) return;
        this.end(visitor, 'TLS handshake not in time');
      });
    visitor.timer = setTimeout(isLate, this.options.limits.handshakeTimeoutMs).unref();
  }

  private end(visitor: Visitor | undefined, why: string): void {
    if (visitor === undefined) return;
    // Its place is free at once; the end of its socket may take a moment.
    this.strike(visitor);
    this.refuse(visitor, why);
  }

  private refuse({ socket, share }: Visitor, why: string): void {
    const { count, onNotice } = this.options;
    count(why);
    onNotice('connection-ended', { address: share, clause: why });
    socket.destroy();
  }

  private strike(visitor: Visitor): void {
    if (visitor.isGone) return;
    visitor.isGone = true;
    clearTimeout(visitor.timer);
    const { share, ends } = visitor;
    for (const crowd of [this.all, this.pending, this.handshakes]) crowd.delete(share, visitor);
    if (this.byEnds.get(ends) === visitor) this.byEnds.delete(ends);
  }
}

/** Names a connection, also where TLS made another socket of it. */
function endsOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}
