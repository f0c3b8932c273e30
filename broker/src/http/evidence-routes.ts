/** The evidence for everyone who checks it: static tiles and checkpoints, and, with a token, tail, frames and bodies. */

import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { fromHex } from '@fieldproof/protocol/bytes';
import { encodeFrame, type Frame } from '@fieldproof/protocol/frame';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { BrokerError } from '../errors.ts';
import type { Access } from './access.ts';
import { sendBytes } from './public-routes.ts';

/** What these routes need of the evidence log. */
export interface EvidenceSource {
  /** Folder of checkpoint and tiles. */
  readonly publishedFolder: string;
  /** Why entries cannot be written, if they cannot. */
  readonly problem: BrokerError | null;
  tail(
    from: number,
    options: { readonly live: boolean; readonly signal: AbortSignal },
  ): AsyncGenerator<Uint8Array, void, void>;
  readFrame(index: number): Promise<Frame>;
  bodyByDigest(digest: Uint8Array): Promise<Uint8Array | undefined>;
}

/** A tail that is being read. */
interface OpenTail {
  readonly isAllowed: () => boolean;
  /** Breaks it off; its place is free at once. */
  readonly cut: () => void;
}

const TAIL_CHECK_MS = 10_000;
const FRAMES = 'application/vnd.fieldproof.frames';
const COSE = 'application/cose; cose-type="cose-sign1"';
const IMMUTABLE = 'public, max-age=31536000, immutable';

/** Paths of C2SP tlog-tiles: level and index in groups of three digits, all but the last with an x; perhaps partial. */
const TILE =
  /^tile\/(?:entries|[0-9]|[1-5][0-9]|6[0-3])(?:\/x[0-9]{3})*\/[0-9]{3}(\.p\/[0-9]{1,3})?$/;

export function addEvidenceRoutes(
  app: FastifyInstance,
  options: {
    readonly evidence: EvidenceSource;
    readonly access: Access;
    /** Read at the same time; each holds up to a commit of frames while its reader is slow. */
    readonly maxTails: number;
    /** How often it is looked whether the tokens of tails are still good. */
    readonly tailCheckMs?: number;
  },
): void {
  const { evidence, access, maxTails, tailCheckMs = TAIL_CHECK_MS } = options;
  const tails = new Set<OpenTail>();
  /** Ends those whose token has ended: an idle one asks for nothing by which it would be noticed. */
  const sweep = () => {
    for (const tail of tails) if (!tail.isAllowed()) tail.cut();
  };
  const sweeping = setInterval(sweep, tailCheckMs);
  sweeping.unref();
  app.addHook('onClose', async () => clearInterval(sweeping));

  app.get('/log/evidence/*', async (request, reply) => {
    const path = (request.params as { readonly '*': string })['*'];
    if (path === 'checkpoint') {
      reply.header('content-type', 'text/plain; charset=utf-8').header('cache-control', 'no-store');
      return sendFile(reply, evidence.publishedFolder, path);
    }
    const tile = TILE.exec(path);
    if (tile === null) throw notFound(path);
    // A partial tile goes when the full one is there; until then its bytes never change.
    const cache = tile[1] === undefined ? IMMUTABLE : 'public, max-age=60';
    reply.header('content-type', 'application/octet-stream').header('cache-control', cache);
    return sendFile(reply, evidence.publishedFolder, path);
  });

  app.get('/v1/tail', async (request, reply) => {
    access(request, 'tail');
    const query = request.query as { readonly from?: string; readonly live?: string };
    const from = indexIn('from', query.from ?? '0');
    if (query.live !== undefined && query.live !== '0' && query.live !== '1') {
      throw new BrokerError('ERR_REQUEST', 'live: expected 0 or 1');
    }
    if (tails.size >= maxTails) sweep();
    if (tails.size >= maxTails) {
      reply.header('retry-after', 5);
      throw new BrokerError('ERR_RATE_LIMIT', `tails: expected at most ${maxTails} at a time`);
    }
    const ended = new AbortController();
    const frames = evidence.tail(from, { live: query.live !== '0', signal: ended.signal });
    const tail: OpenTail = {
      isAllowed: () => isAllowed(() => access(request, 'tail')),
      cut: () => {
        tails.delete(tail);
        reply.raw.destroy();
      },
    };
    tails.add(tail);
    reply.raw.once('close', () => {
      tails.delete(tail);
      ended.abort();
    });
    reply.header('content-type', FRAMES).header('cache-control', 'no-store');
    const allowed = whileAllowed(frames, () => access(request, 'tail'));
    // Without this a reader learns only with the first frame that it is connected.
    reply.raw.once('pipe', () => reply.raw.flushHeaders());
    return reply.send(Readable.from(allowed, { objectMode: false, highWaterMark: 1 << 16 }));
  });

  app.get('/v1/entries/:index', async (request, reply) => {
    access(request, 'tail');
    const { index } = request.params as { readonly index: string };
    const frame = await evidence.readFrame(indexIn('index', index));
    return sendBytes(reply, FRAMES, encodeFrame(frame));
  });

  app.get('/v1/bodies/:digest', async (request, reply) => {
    access(request, 'bodies');
    const { digest } = request.params as { readonly digest: string };
    if (!/^[0-9a-f]{64}$/.test(digest)) {
      throw new BrokerError('ERR_REQUEST', 'digest: expected 64 lower-case hex digits');
    }
    const body = await evidence.bodyByDigest(fromHex(digest));
    if (body === undefined) throw notFound(digest);
    reply.header('cache-control', 'private, no-cache');
    return sendBytes(reply, COSE, body);
  });
}

function isAllowed(check: () => void): boolean {
  try {
    check();
    return true;
  } catch {
    return false;
  }
}

/** A tail lasts long: its token may end or be revoked meanwhile. Then it breaks off, which no reader takes for the end. */
async function* whileAllowed(
  frames: AsyncGenerator<Uint8Array, void, void>,
  check: () => void,
): AsyncGenerator<Uint8Array, void, void> {
  for await (const chunk of frames) {
    check();
    yield chunk;
  }
}

async function sendFile(reply: FastifyReply, folder: string, path: string): Promise<FastifyReply> {
  const file = await open(join(folder, path)).catch(() => null);
  // Of the open file: the one of that name may be replaced meanwhile.
  const found = await file?.stat();
  if (file === null || found === undefined || !found.isFile()) {
    await file?.close();
    // What is not there yet may come: nobody may remember this answer.
    reply.header('cache-control', 'no-store');
    throw notFound(path);
  }
  return reply.header('content-length', found.size).send(file.createReadStream());
}

function indexIn(name: string, text: string): number {
  const index = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(index)) return index;
  throw new BrokerError('ERR_REQUEST', `${name}: expected a whole number`);
}

function notFound(what: string): BrokerError {
  return new BrokerError('ERR_NOT_FOUND', `${what.slice(0, 120)}: there is none`);
}
