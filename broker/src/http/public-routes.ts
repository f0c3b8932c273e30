/** What anyone may ask: descriptor, hello, enrolment, rotation, transfer. docs/spec/identity.md. */

import type { AddressRule } from '@fieldproof/protocol/address-share-node';
import { fromBase64url } from '@fieldproof/protocol/bytes';
import type { Signer } from '@fieldproof/protocol/envelope';
import { type Descriptor, sealHello } from '@fieldproof/protocol/statements';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { BrokerError } from '../errors.ts';
import type { Nonces } from '../nonces.ts';
import type { RateLimiter } from '../rate-limit.ts';
import type { EnrolmentDesk } from '../registry/enrolment.ts';
import type { RotationDesk } from '../registry/rotation.ts';
import type { TransferDesk } from '../registry/transfer.ts';

export interface PublicRoutesOptions {
  readonly network: string;
  /** Role key `registry`. */
  readonly signer: Signer;
  readonly nonces: Nonces;
  readonly desk: Pick<EnrolmentDesk, 'enrol'>;
  readonly rotations: Pick<RotationDesk, 'rotate'>;
  readonly transfers: Pick<TransferDesk, 'transfer'>;
  readonly descriptor: () => { readonly descriptor: Descriptor; readonly envelope: Uint8Array };
  readonly helloLimit: RateLimiter;
  readonly enrolLimit: RateLimiter;
  /** Who counts as one for these limits. */
  readonly shareOf: AddressRule;
  readonly now: () => number;
}

const COSE = 'application/cose; cose-type="cose-sign1"';
const MIN_CLIENT_NONCE = 16;
const MAX_CLIENT_NONCE = 32;

export function addPublicRoutes(app: FastifyInstance, options: PublicRoutesOptions): void {
  app.get('/v1/descriptor', async (_request, reply) => {
    reply.header('cache-control', 'no-cache');
    return sendBytes(reply, COSE, options.descriptor().envelope);
  });

  app.get('/v1/hello', async (request, reply) => {
    limit(options.helloLimit, options.shareOf(request.ip).name, reply);
    const clientNonce = clientNonceOf(request.query);
    const { network, signer, nonces, now } = options;
    const hello = sealHello(
      {
        network,
        time: now(),
        nonce: nonces.issue(),
        clientNonce,
        descriptor: options.descriptor().descriptor.version,
      },
      { signer },
    );
    reply.header('cache-control', 'no-store');
    return sendBytes(reply, COSE, hello);
  });

  app.post('/v1/enrol', async (request, reply) => {
    limit(options.enrolLimit, options.shareOf(request.ip).name, reply);
    const answer = await options.desk.enrol(requestIn(request));
    reply.header('cache-control', 'no-store');
    return sendBytes(reply, 'application/cbor', answer);
  });

  app.post('/v1/rotate', async (request, reply) => {
    limit(options.enrolLimit, options.shareOf(request.ip).name, reply);
    const answer = await options.rotations.rotate(requestIn(request));
    reply.header('cache-control', 'no-store');
    return sendBytes(reply, 'application/cbor', answer);
  });

  app.post('/v1/transfer', async (request, reply) => {
    limit(options.enrolLimit, options.shareOf(request.ip).name, reply);
    await options.transfers.transfer(requestIn(request));
    return reply.code(204).header('cache-control', 'no-store').send();
  });
}

function requestIn(request: FastifyRequest): Uint8Array {
  if (Buffer.isBuffer(request.body)) return Uint8Array.from(request.body);
  throw new BrokerError('ERR_REQUEST', 'body: expected a COSE_Sign1 message');
}

/** Sends bytes under a content type. */
export function sendBytes(reply: FastifyReply, type: string, bytes: Uint8Array): FastifyReply {
  return reply
    .header('content-type', type)
    .send(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
}

/** Counts a request under a name. @throws {BrokerError} ERR_RATE_LIMIT, with Retry-After. */
export function limit(limiter: RateLimiter, name: string, reply: FastifyReply): void {
  const waitMs = limiter.take(name);
  if (waitMs === 0) return;
  reply.header('retry-after', Math.ceil(waitMs / 1000));
  throw new BrokerError('ERR_RATE_LIMIT', `requests: wait ${waitMs} ms`);
}

function clientNonceOf(query: unknown): Uint8Array {
  const text = (query as { readonly nonce?: unknown }).nonce;
  let nonce: Uint8Array | null = null;
  try {
    nonce = typeof text === 'string' ? fromBase64url(text) : null;
  } catch {
    // Answered below.
  }
  if (nonce === null || nonce.length < MIN_CLIENT_NONCE || nonce.length > MAX_CLIENT_NONCE) {
    throw new BrokerError('ERR_REQUEST', 'nonce: expected 16 to 32 bytes as base64url');
  }
  return nonce;
}
