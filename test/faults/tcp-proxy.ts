/**
 * A TCP proxy that breaks connections on demand: ends, resets, delays, slows, swallows. It accepts while its target is
 * down, as a port forward or a NAT does.
 */

import { connect, createServer, type Server, type Socket } from 'node:net';

interface Address {
  readonly host: string;
  readonly port: number;
}

interface Pair {
  readonly client: Socket;
  readonly target: Socket;
  /** The client's side stays open and is read, with nobody behind it. */
  isHalfOpen: boolean;
}

const SLICE_BYTES = 512;
const POLL_MS = 20;

export class TcpProxy {
  readonly #target: Address;
  readonly #pairs = new Set<Pair>();
  #server: Server | null = null;
  #delayMs = 0;
  #bytesPerSecond = Number.POSITIVE_INFINITY;
  #isBlackHole = false;
  #cutNext = 0;
  #disturbed = 0;
  #forwarded = 0;

  constructor(target: Address) {
    this.#target = target;
  }

  /** Listens. Rejects when the address is taken. */
  async start(listen: Address): Promise<number> {
    const server = createServer({ allowHalfOpen: false }, (client) => this.#accept(client));
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(listen.port, listen.host, resolve);
    });
    return (server.address() as { port: number }).port;
  }

  async stop(): Promise<void> {
    this.heal();
    for (const pair of this.#pairs) end(pair);
    await new Promise<void>((resolve) => this.#server?.close(() => resolve()) ?? resolve());
  }

  get connections(): number {
    return this.#pairs.size;
  }

  /** Bytes that came through, both ways. */
  get forwarded(): number {
    return this.#forwarded;
  }

  /** Chunks that were delayed, slowed, swallowed or cut so far. */
  get disturbed(): number {
    return this.#disturbed;
  }

  /** Ends all connections in order (FIN). @returns how many. */
  cut(): number {
    return this.#each(({ client, target }) => {
      client.end();
      target.end();
      client.destroy();
      target.destroy();
    });
  }

  /** Resets all connections (RST). @returns how many. */
  reset(): number {
    return this.#each(({ client, target }) => {
      client.resetAndDestroy();
      target.resetAndDestroy();
    });
  }

  /** Of the next chunk of every connection, half comes through, and the connection ends. @returns how many. */
  cutMidPacket(): number {
    this.#cutNext = this.#pairs.size;
    return this.#cutNext;
  }

  /** The far side goes; the near side hears nothing of it. @returns how many. */
  halfOpen(): number {
    return this.#each((pair) => {
      pair.isHalfOpen = true;
      pair.target.destroy();
    });
  }

  delay(ms: number): void {
    this.#delayMs = ms;
  }

  throttle(bytesPerSecond: number): void {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Nothing comes through, nothing is said; new connections are accepted. */
  blackHole(): void {
    this.#isBlackHole = true;
  }

  /** Ends all disturbance; what was swallowed arrives late, as TCP would resend it; half-open connections end. */
  heal(): void {
    this.#delayMs = 0;
    this.#bytesPerSecond = Number.POSITIVE_INFINITY;
    this.#isBlackHole = false;
    this.#cutNext = 0;
    for (const pair of this.#pairs) if (pair.isHalfOpen) end(pair);
  }

  #each(act: (pair: Pair) => void): number {
    const pairs = [...this.#pairs].filter(({ isHalfOpen }) => !isHalfOpen);
    for (const pair of pairs) act(pair);
    return pairs.length;
  }

  #accept(client: Socket): void {
    const target = connect(this.#target);
    const pair: Pair = { client, target, isHalfOpen: false };
    this.#pairs.add(pair);
    client.on('error', () => {});
    target.on('error', () => {});
    client.on('close', () => {
      target.destroy();
      this.#pairs.delete(pair);
    });
    this.#pipe(pair, client, target);
    const answered = this.#pipe(pair, target, client);
    target.on('close', () => {
      if (!pair.isHalfOpen) void answered().then(() => client.end());
    });
  }

  /**
   * One chunk after the other; the sender waits meanwhile.
   *
   * @returns tells when what has come so far is through: the end of a slow answer comes after all of it.
   */
  #pipe(pair: Pair, from: Socket, to: Socket): () => Promise<void> {
    let passed = Promise.resolve();
    from.on('data', (chunk) => {
      from.pause();
      passed = passed.then(() => this.#pass(pair, chunk, to));
      void passed.then(() => from.resume());
    });
    from.on('end', () => {
      if (!pair.isHalfOpen) void passed.then(() => to.end());
    });
    return () => passed;
  }

  async #pass(pair: Pair, chunk: Buffer, to: Socket): Promise<void> {
    if (this.#delayMs > 0) {
      this.#disturbed++;
      await pause(this.#delayMs);
    }
    if (this.#isBlackHole) this.#disturbed++;
    while (this.#isBlackHole && !to.destroyed) await pause(POLL_MS);
    if (this.#cutNext > 0 && chunk.length > 1) {
      this.#cutNext--;
      this.#disturbed++;
      await write(to, chunk.subarray(0, chunk.length >> 1));
      end(pair);
      return;
    }
    if (this.#bytesPerSecond === Number.POSITIVE_INFINITY) {
      await this.#forward(to, chunk);
      return;
    }
    this.#disturbed++;
    for (let at = 0; at < chunk.length; at += SLICE_BYTES) {
      const slice = chunk.subarray(at, at + SLICE_BYTES);
      await this.#forward(to, slice);
      if (this.#bytesPerSecond < Number.POSITIVE_INFINITY) {
        await pause((slice.length / this.#bytesPerSecond) * 1000);
      }
    }
  }

  async #forward(to: Socket, bytes: Buffer): Promise<void> {
    if (to.destroyed) return;
    this.#forwarded += bytes.length;
    await write(to, bytes);
  }
}

/** Ends both sides, with what was written before. */
function end({ client, target }: Pair): void {
  client.destroySoon();
  target.destroySoon();
}

function write(to: Socket, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => {
    if (to.destroyed) resolve();
    else to.write(bytes, () => resolve());
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}
