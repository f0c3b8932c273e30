/** One connection of the plain broker: reads packets, keeps time, and stops reading while its peer takes nothing. */

import type { Duplex } from 'node:stream';
import type { PlainArrival } from '../front-desk.ts';
import { type ClientPacket, decodePackets } from './packets.ts';
import type { Link } from './session.ts';

export interface PlainClientOptions {
  readonly arrival: PlainArrival;
  /** How long it may take nothing of what was sent to it. */
  readonly drainTimeoutMs: number;
  /** Bytes that it has not taken above which messages for it wait. */
  readonly maxUnsentBytes: number;
  /** Whether it is not read now, so that its silence says nothing. */
  readonly isHeld: () => boolean;
  readonly onPacket: (packet: ClientPacket) => void;
  /** It takes again what is sent to it. */
  readonly onDrain: () => void;
  /** Told once. @param reason - null: the peer has ended it. */
  readonly onClosed: (reason: string | null) => void;
}

export class PlainClient implements Link {
  readonly arrival: PlainArrival;
  private readonly connection: Duplex;
  private readonly options: PlainClientOptions;
  private keepAlive: NodeJS.Timeout | undefined;
  private drain: NodeJS.Timeout | undefined;
  /** Bytes written to it, and how many of them it had taken when that was last looked at. */
  private written = 0;
  private taken = 0;
  private closed = false;

  constructor(connection: Duplex, options: PlainClientOptions) {
    this.connection = connection;
    this.options = options;
    this.arrival = options.arrival;
  }

  get isFull(): boolean {
    return this.closed || this.connection.writableLength > this.options.maxUnsentBytes;
  }

  /** Begins to read. */
  start(): void {
    const { connection } = this;
    connection.on('readable', () => this.read());
    connection.on('drain', () => {
      clearTimeout(this.drain);
      this.drain = undefined;
      this.options.onDrain();
      // The guard does not read while there is something to drain.
      connection.emit('readable');
    });
    connection.once('end', () => this.close(null));
    connection.once('close', () => this.close(null));
    const { keepAliveSeconds } = this.arrival.connect;
    if (keepAliveSeconds > 0) this.watchSilence(keepAliveSeconds * 1500);
  }

  write(bytes: Buffer): void {
    if (this.closed) return;
    this.written += bytes.length;
    if (!this.connection.write(bytes) && this.drain === undefined) this.watchDrain();
  }

  /** Ends the connection. @param reason - why the broker does; null: the peer wants it so, or is gone. */
  close(reason: string | null): void {
    if (this.closed) return;
    this.closed = true;
    clearTimeout(this.keepAlive);
    clearTimeout(this.drain);
    this.options.onClosed(reason);
    const { connection } = this;
    if (reason !== null || connection.writableNeedDrain) connection.destroy();
    else this.finish();
  }

  /** What it was sent before its DISCONNECT still goes out, unless it does not take it. */
  private finish(): void {
    const { connection } = this;
    const timer = setTimeout(() => connection.destroy(), this.options.drainTimeoutMs).unref();
    connection.once('close', () => clearTimeout(timer));
    connection.end(() => connection.destroy());
  }

  private read(): void {
    for (;;) {
      const bytes: unknown = this.closed ? null : this.connection.read();
      if (!Buffer.isBuffer(bytes)) return;
      this.keepAlive?.refresh();
      this.connection.cork();
      for (const packet of decodePackets(bytes)) {
        if (this.closed) break;
        this.options.onPacket(packet);
      }
      this.connection.uncork();
    }
  }

  /** A reader that is slow, but takes something each time, stays. */
  private watchDrain(): void {
    this.taken = this.written - this.connection.writableLength;
    this.drain = setTimeout(() => {
      if (this.written - this.connection.writableLength > this.taken) this.watchDrain();
      else this.close('slow reader');
    }, this.options.drainTimeoutMs);
  }

  /** [MQTT-3.1.2-24]: silent for one and a half times its keep alive. */
  private watchSilence(limitMs: number): void {
    this.keepAlive = setTimeout(() => {
      if (this.options.isHeld()) this.keepAlive?.refresh();
      else this.close('MQTT-3.1.2-24');
    }, limitMs);
  }
}
