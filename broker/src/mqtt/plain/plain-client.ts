/** One connection of the plain broker: reads packets, keeps time, and stops reading while its peer takes nothing. */

import type { Duplex } from 'node:stream';
import type { PlainArrival } from '../front-desk.ts';
import { type ClientPacket, decodePackets } from './packets.ts';
import type { Link } from './session.ts';
import type { Unsent, UnsentHolder } from './unsent.ts';

export interface PlainClientOptions {
  readonly arrival: PlainArrival;
  /** How long it may take nothing of what was sent to it. */
  readonly drainTimeoutMs: number;
  /** Where it counts what it has not taken; above that messages for it wait. */
  readonly unsent: Unsent;
  /** Whether it is not read now, so that its silence says nothing. */
  readonly isHeld: () => boolean;
  readonly onPacket: (packet: ClientPacket) => void;
  /** There is room again for what is sent to it. */
  readonly onRoom: () => void;
  /** Told once. @param reason - null: the peer has ended it. */
  readonly onClosed: (reason: string | null) => void;
}

export class PlainClient implements Link, UnsentHolder {
  readonly arrival: PlainArrival;
  unsentBytes = 0;
  private readonly connection: Duplex;
  private readonly options: PlainClientOptions;
  private keepAlive: NodeJS.Timeout | undefined;
  private drain: NodeJS.Timeout | undefined;
  /** Bytes written to it, and how many of them it had taken when that was last looked at. */
  private written = 0;
  private taken = 0;
  private closed = false;
  /** What is written in one go leaves in one go. */
  private corked = false;

  constructor(connection: Duplex, options: PlainClientOptions) {
    this.connection = connection;
    this.options = options;
    this.arrival = options.arrival;
  }

  mayTake(): boolean {
    return !this.closed && this.options.unsent.mayTake(this);
  }

  onRoom(): void {
    if (!this.closed) this.options.onRoom();
  }

  onSlow(): void {
    this.close('slow reader');
    this.connection.destroy();
  }

  /** Begins to read. */
  start(): void {
    const { connection } = this;
    connection.on('readable', () => this.read());
    connection.on('drain', () => {
      clearTimeout(this.drain);
      this.drain = undefined;
      this.onRoom();
      // The guard does not read while there is something to drain.
      connection.emit('readable');
    });
    connection.once('end', () => this.close(null));
    connection.once('close', () => {
      this.close(null);
      this.options.unsent.forget(this);
    });
    const { keepAliveSeconds } = this.arrival.connect;
    if (keepAliveSeconds > 0) this.watchSilence(keepAliveSeconds * 1500);
  }

  write(bytes: Buffer): void {
    if (this.closed) return;
    const { connection } = this;
    this.written += bytes.length;
    if (!this.corked) {
      this.corked = true;
      connection.cork();
      process.nextTick(this.flush);
    }
    if (!connection.write(bytes, this.look) && this.drain === undefined) this.watchDrain();
    this.look();
  }

  /** Ends the connection. @param reason - why the broker does; null: the peer wants it so, or is gone. */
  close(reason: string | null): void {
    if (this.closed) return;
    this.closed = true;
    clearTimeout(this.keepAlive);
    clearTimeout(this.drain);
    this.options.onClosed(reason);
    this.flush();
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
      for (const packet of decodePackets(bytes)) {
        if (this.closed) break;
        this.options.onPacket(packet);
      }
      // Before what comes next may end the connection.
      this.flush();
    }
  }

  private readonly flush = (): void => {
    if (!this.corked) return;
    this.corked = false;
    this.connection.uncork();
  };

  /** Tells what it has not taken; after its end as well, until it is gone. */
  private readonly look = (): void => {
    const { connection } = this;
    this.options.unsent.tell(this, connection.destroyed ? 0 : connection.writableLength);
  };

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
