import { BrokerError } from '@fieldproof/broker/errors';
import type { Access } from '@fieldproof/broker/http/access';
import { addEvidenceRoutes, type EvidenceSource } from '@fieldproof/broker/http/evidence-routes';
import { sendProblem } from '@fieldproof/broker/http/problem';
import { afterEach, expect, test } from '@jest/globals';
import fastify, { type FastifyInstance } from 'fastify';
import { until } from './support/device.ts';

let app: FastifyInstance | null = null;
afterEach(async () => {
  await app?.close();
});

/** Tails of a log in which nothing happens, for tokens that are named by their texts. */
async function serve(options: { readonly maxTails: number; readonly tailCheckMs: number }) {
  const good = new Set(['ann', 'bob']);
  const ended: string[] = [];
  const evidence = {
    async *tail(from: number, { signal }: { signal: AbortSignal }) {
      yield new Uint8Array(1);
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      ended.push(String(from));
    },
  } as unknown as EvidenceSource;
  const access = ((request: { headers: { authorization?: string } }) => {
    const name = request.headers.authorization?.replace('Bearer ', '') ?? '';
    if (!good.has(name)) throw new BrokerError('ERR_UNAUTHORIZED', 'authorization: none');
  }) as unknown as Access;
  app = fastify({ forceCloseConnections: true });
  app.setErrorHandler(sendProblem);
  addEvidenceRoutes(app, { evidence, access, ...options });
  const url = await app.listen({ port: 0, host: '127.0.0.1' });
  const read = async (name: string, from: number) => {
    const response = await fetch(`${url}/v1/tail?from=${from}`, {
      headers: { authorization: `Bearer ${name}` },
    });
    return {
      response,
      rest: response.arrayBuffer().then(
        () => 'the end',
        () => 'cut off',
      ),
    };
  };
  return { good, ended, read };
}

test('an idle tail whose token has ended gives its place to the next at once', async () => {
  const { good, ended, read } = await serve({ maxTails: 1, tailCheckMs: 1e6 });
  const ann = await read('ann', 1);
  expect((await read('bob', 2)).response.status).toBe(429);
  good.delete('ann');
  const bob = await read('bob', 3);
  expect(bob.response.status).toBe(200);
  expect(await ann.rest).toBe('cut off');
  await until(() => ended.length > 0, 'the end of its source');
  expect(ended).toEqual(['1']);
  // The place is one: that of the tail which was cut is not given twice.
  expect((await read('bob', 4)).response.status).toBe(429);
});

test('it ends by itself, and no other with it', async () => {
  const { good, ended, read } = await serve({ maxTails: 2, tailCheckMs: 5 });
  const ann = await read('ann', 1);
  await read('bob', 2);
  good.delete('ann');
  expect(await ann.rest).toBe('cut off');
  await until(() => ended.length > 0, 'the end of its source');
  expect(ended).toEqual(['1']);
});
