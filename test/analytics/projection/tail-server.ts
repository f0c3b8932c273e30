/** The broker's tail over a fake log, and a store that keeps lines: for tests of everything behind the tail. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { encodeFrame } from '@fieldproof/protocol/frame';
import { until as waitUntil } from '../../support/until.ts';
import type { FakeLog } from './evidence.ts';

export const TOKEN = 'fpt_test';

export class TailServer {
  /** Changes bytes on their way: damage, delays. */
  alter: (bytes: Buffer, from: number) => Buffer = (bytes) => bytes;
  /** Statuses that the next tails are answered with, as a proxy would. */
  readonly refusals: number[] = [];
  /** Requests so far: their `from`. */
  readonly requests: number[] = [];
  log: FakeLog;
  readonly #open = new Set<{ response: ServerResponse; next: number }>();
  readonly #server: Server;

  constructor(log: FakeLog) {
    this.log = log;
    this.#server = createServer((request, response) => this.#answer(request, response));
  }

  async start(): Promise<string> {
    return `http://127.0.0.1:${await listen(this.#server)}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Sends what the log got since. */
  push(): void {
    for (const tail of this.#open) {
      if (tail.next >= this.log.size) continue;
      tail.response.write(this.alter(this.log.bytes(tail.next), tail.next));
      tail.next = this.log.size;
    }
  }

  /** Cuts all connections. */
  cut(): void {
    for (const { response } of this.#open) response.destroy();
    this.#open.clear();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url!, 'http://x');
    if (request.headers.authorization !== `Bearer ${TOKEN}`) {
      response.writeHead(401).end();
      return;
    }
    const [, one] = /^\/v1\/entries\/(\d+)$/.exec(url.pathname) ?? [];
    if (one !== undefined) {
      const frame = this.log.frames[Number(one)];
      if (frame === undefined) outOfRange(response);
      else response.writeHead(200).end(encodeFrame(frame));
      return;
    }
    const from = Number(url.searchParams.get('from'));
    this.requests.push(from);
    const refusal = this.refusals.shift();
    if (refusal !== undefined) {
      response.writeHead(refusal, { 'content-type': 'text/html' }).end('<h1>no</h1>');
      return;
    }
    if (from > this.log.size) {
      outOfRange(response);
      return;
    }
    response.writeHead(200, { 'content-type': 'application/vnd.fieldproof.frames' });
    response.flushHeaders();
    response.write(this.alter(this.log.bytes(from), from));
    if (url.searchParams.get('live') === '0') {
      response.end();
      return;
    }
    const tail = { response, next: this.log.size };
    this.#open.add(tail);
    response.on('close', () => this.#open.delete(tail));
  }
}

function outOfRange(response: ServerResponse): void {
  const body = { type: 'about:blank', status: 416, code: 'ERR_INDEX_RANGE' };
  response.writeHead(416, { 'content-type': 'application/problem+json' });
  response.end(JSON.stringify(body));
}

export class FakeStore {
  /** Every line that was accepted, in order, repeats included. */
  readonly lines: string[] = [];
  readonly bodies: string[] = [];
  /** Answers instead of storing; undefined stores. `hang` never answers. */
  respond: (body: string) => { status: number; text: string } | 'hang' | 'cut' | undefined = () =>
    undefined;
  readonly headers: IncomingMessage['headers'][] = [];
  readonly #server: Server = createServer((request, response) => {
    void this.#answer(request, response);
  });

  /** What a store would hold: the last value of each series, field and time. */
  get points(): Map<string, string> {
    const points = new Map<string, string>();
    for (const line of this.lines) {
      const [series, fields, time] = line.split(' ');
      for (const field of fields!.split(',')) {
        const [key, value] = field.split('=');
        points.set(`${series} ${key} ${time}`, value!);
      }
    }
    return points;
  }

  async start(): Promise<string> {
    return `http://127.0.0.1:${await listen(this.#server)}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer);
    } catch {
      return;
    }
    this.headers.push(request.headers);
    let bytes = Buffer.concat(chunks);
    if (request.headers['content-encoding'] === 'gzip') bytes = gunzipSync(bytes);
    const body = bytes.toString('utf8');
    const answer = this.respond(body);
    if (answer === 'hang') return;
    if (answer === 'cut') {
      this.#keep(body);
      request.socket.destroy();
      return;
    }
    if (answer !== undefined) {
      response.writeHead(answer.status).end(answer.text);
      return;
    }
    this.#keep(body);
    response.writeHead(204).end();
  }

  #keep(body: string): void {
    this.bodies.push(body);
    for (const line of body.split('\n')) if (line !== '') this.lines.push(line);
  }
}

/** Polls until the condition holds. */
export async function until(condition: () => boolean): Promise<void> {
  await waitUntil(`${condition}`, condition, { everyMs: 20 });
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
  });
}
