/** The network descriptor and the role keys that it names. docs/spec/identity.md section 2. */

import { fromBase64url, toBase64url } from '@fieldproof/protocol/bytes';
import { publicKeyFromDeviceId } from '@fieldproof/protocol/did-key';
import { encodeDescriptor, type RoleName } from '@fieldproof/protocol/statements';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { DescriptorDesk } from '../../descriptor-desk.ts';
import { BrokerError } from '../../errors.ts';
import { ROLES } from '../../keys.ts';
import { bodyOf, textIn } from './body-fields.ts';

export interface DescriptorRoutesOptions {
  readonly descriptorDesk: () => DescriptorDesk;
}

/** A descriptor of the longest lists is below this, in base64url. */
const MAX_TEXT = 65_536;

export function addDescriptorRoutes(app: FastifyInstance, options: DescriptorRoutesOptions): void {
  const desk = () => options.descriptorDesk();

  app.get('/admin/descriptor', { config: { scope: 'read' } }, async () => ({
    ...desk().state(),
    descriptor: toBase64url(desk().current.envelope),
  }));

  app.get('/admin/descriptor/draft', { config: { scope: 'keys' } }, async () => ({
    draft: toBase64url(encodeDescriptor(desk().draft())),
  }));

  app.post(
    '/admin/descriptor',
    { config: { scope: 'keys', takes: ['descriptor'], takesBytes: true } },
    async (request) => {
      await desk().install(envelopeIn(request));
      return desk().state();
    },
  );

  app.get('/admin/keys', { config: { scope: 'read' } }, async () => ({
    keys: await desk().keys(),
    rootHere: desk().state().rootHere,
  }));

  app.post(
    '/admin/keys/:role/rotate',
    { config: { scope: 'keys', takes: ['compromised', 'public'] } },
    async (request) => {
      const { compromised = false } = bodyOf(request);
      if (typeof compromised !== 'boolean') {
        throw new BrokerError('ERR_REQUEST', 'compromised: expected true or false');
      }
      const publicKey = publicKeyIn(request);
      return desk().rotate(roleOf(request), {
        isCompromised: compromised,
        ...(publicKey && { publicKey }),
      });
    },
  );

  app.delete('/admin/keys/:role/next', { config: { scope: 'keys' } }, async (request, reply) => {
    const role = roleOf(request);
    if (await desk().cancel(role)) return reply.code(204).send();
    throw new BrokerError('ERR_NOT_FOUND', `${role}: no key waits to replace it`);
  });
}

/** As the message itself, or as base64url in JSON. */
function envelopeIn(request: FastifyRequest): Uint8Array {
  if (Buffer.isBuffer(request.body)) return Uint8Array.from(request.body);
  try {
    return fromBase64url(textIn(request, 'descriptor', { max: MAX_TEXT }));
  } catch (cause) {
    if (cause instanceof BrokerError) throw cause;
    throw new BrokerError('ERR_REQUEST', 'descriptor: expected base64url', { cause });
  }
}

function roleOf(request: FastifyRequest): RoleName {
  const { role } = request.params as { readonly role: string };
  const known = ROLES.find((name) => name === role);
  if (known !== undefined) return known;
  throw new BrokerError(
    'ERR_REQUEST',
    `role: expected ${ROLES.join(', ')}, got ${role.slice(0, 32)}`,
  );
}

function publicKeyIn(request: FastifyRequest): Uint8Array | undefined {
  const text = textIn(request, 'public', { fallback: '', max: 64 });
  if (text === '') return undefined;
  try {
    return publicKeyFromDeviceId(text);
  } catch (cause) {
    throw new BrokerError('ERR_REQUEST', 'public: expected a key, z6Mk…', { cause });
  }
}
