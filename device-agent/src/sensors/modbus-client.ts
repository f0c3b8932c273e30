/** One connection to a Modbus TCP device, one request at a time. */

import { connect, type Socket } from 'node:net';
import type { Clock } from '../clock.ts';
import {
  decodeAnswer,
  encodeRequest,
  frameLength,
  type ReadRequest,
  transactionOf,
} from './modbus-frame.ts';

interface ClientOptions {
  readonly host: string;
  readonly port: number;
  /** For connecting, and for each answer. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
}

export class ModbusClient {
  readonly #options: ClientOptions;
  #socket: Socket | undefined;
  #received: Buffer = Buffer.alloc(0);
  #transaction = 0;
  #failure: Error | undefined;
  /** Looks at what came, or at the failure. */
  #wake: () => void = () => {};

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  /** Connects. @throws {Error} when it cannot within `timeoutMs`. */
  async open(): Promise<void> {
    const { host, port, signal } = this.#options;
    const socket = connect({ host, port, noDelay: true });
    this.#socket = socket;
    let connected = false;
    socket.on('connect', () => {
      connected = true;
      this.#wake();
    });
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(new Error('the device closed the connection')));
    socket.on('data', (chunk) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      // Nobody asked for so much: one request is on its way, and an answer has at most 260 bytes.
      if (this.#received.length > 4096)
        this.#fail(new Error('the device sends without being asked'));
      this.#wake();
    });
    signal?.addEventListener('abort', this.#stopped, { once: true });
    if (signal?.aborted) this.#stopped();
    await this.#until(() => (connected ? true : undefined), 'no connection');
  }

  /**
   * The bytes that a read request is answered with. Answers to earlier requests are passed over.
   *
   * @throws {ModbusException} what the device answered.
   * @throws {Error} when there is no answer that fits within `timeoutMs`.
   */
  async read(request: ReadRequest): Promise<Uint8Array> {
    this.#transaction = (this.#transaction + 1) % 65_536;
    this.#socket?.write(encodeRequest(this.#transaction, request));
    const frame = await this.#until(() => this.#take(this.#transaction), 'no answer');
    return decodeAnswer(frame, request);
  }

  close(): void {
    this.#options.signal?.removeEventListener('abort', this.#stopped);
    this.#fail(new Error('closed'));
  }

  readonly #stopped = (): void => this.#fail(new Error('was stopped'));

  /** The next frame of a transaction, taken from what was received. */
  #take(transaction: number): Uint8Array | undefined {
    for (;;) {
      const length = frameLength(this.#received);
      if (length === undefined || this.#received.length < length) return undefined;
      const frame = this.#received.subarray(0, length);
      this.#received = this.#received.subarray(length);
      if (transactionOf(frame) === transaction) return frame;
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#socket?.destroy();
    this.#wake();
  }

  #until<T>(look: () => T | undefined, otherwise: string): Promise<T> {
    const { clock, timeoutMs } = this.#options;
    return new Promise((resolve, reject) => {
      const timer = clock.after(timeoutMs, () =>
        this.#fail(new Error(`${otherwise} within ${timeoutMs} ms`)),
      );
      const done = (): void => {
        clock.cancel(timer);
        this.#wake = () => {};
      };
      this.#wake = () => {
        let found: T | undefined;
        try {
          found = look();
        } catch (error) {
          this.#failure ??= error as Error;
          this.#socket?.destroy();
        }
        if (found !== undefined) {
          done();
          resolve(found);
        } else if (this.#failure !== undefined) {
          done();
          reject(this.#failure);
        }
      };
      this.#wake();
    });
  }
}
