/** A connection that sends any bytes, over TCP or WebSocket, and reads what comes back as MQTT packets. */

import { connect, type Socket } from 'node:net';
import mqttPacket, { type Packet } from 'mqtt-packet';
import { WebSocket } from 'ws';
import { Finding } from '../finding.ts';
import { whenLate } from '../patience.ts';

/** How long an answer may take on a machine that does much else. */
const LIMIT_MS = 20_000;
const POLL_MS = 500;

export class Wire {
  readonly packets: Packet[] = [];
  isClosed = false;
  private readonly sendBytes: (bytes: Uint8Array) => void;
  private readonly end: () => void;
  private wake = () => {};
  private onPacket: (packet: Packet) => void = () => {};

  private constructor(send: (bytes: Uint8Array) => void, end: () => void) {
    this.sendBytes = send;
    this.end = end;
  }

  static tcp(url: string): Wire {
    const { hostname, port } = new URL(url);
    const socket: Socket = connect({ host: hostname, port: Number(port), noDelay: true });
    const wire = new Wire(
      (bytes) => socket.write(bytes),
      () => socket.destroy(),
    );
    const parser = wire.parser();
    socket.on('data', (chunk) => parser.parse(chunk));
    socket.on('error', () => {});
    socket.on('close', () => wire.closed());
    return wire;
  }

  /** Resolves when the WebSocket is open, or closed. */
  static async webSocket(http: string): Promise<Wire> {
    const socket = new WebSocket(`${http.replace('http', 'ws')}/mqtt`, 'mqtt');
    const wire = new Wire(
      (bytes) => {
        if (socket.readyState === WebSocket.OPEN) socket.send(bytes);
      },
      () => socket.terminate(),
    );
    const parser = wire.parser();
    socket.on('message', (data: Buffer) => parser.parse(data));
    socket.on('error', () => {});
    socket.on('close', () => wire.closed());
    await new Promise<void>((resolve) => {
      socket.once('open', resolve);
      socket.once('close', () => resolve());
    });
    return wire;
  }

  send(bytes: Uint8Array): void {
    this.sendBytes(bytes);
  }

  sendPacket(packet: Packet): void {
    this.sendBytes(mqttPacket.generate(packet));
  }

  /** Is told of every packet from now on. */
  listen(onPacket: (packet: Packet) => void): void {
    this.onPacket = onPacket;
  }

  /** Waits for a condition, or for the end of the connection. */
  async until(condition: () => boolean, what: string): Promise<void> {
    let isLate = false;
    const callOff = whenLate(LIMIT_MS, () => {
      isLate = true;
      this.wake();
    });
    try {
      while (!condition() && !this.isClosed) {
        if (isLate) throw new Finding(`${what}: no answer within ${LIMIT_MS} ms`);
        await new Promise<void>((resolve) => {
          // Conditions may depend on more than the packets of this connection.
          const timer = setTimeout(resolve, POLL_MS);
          this.wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
    } finally {
      callOff();
    }
  }

  close(): void {
    this.end();
  }

  private parser(): mqttPacket.Parser {
    const parser = mqttPacket.parser({ protocolVersion: 4 });
    parser.on('packet', (packet) => {
      this.packets.push(packet);
      this.onPacket(packet);
      this.wake();
    });
    return parser;
  }

  private closed(): void {
    this.isClosed = true;
    this.wake();
  }
}
