/** A control server over a memory store, with a clock that stands still and one token per scope. */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type ControlServerOptions,
  createControlServer,
} from '@fieldproof/analytics/server/server';
import { openTokenStore } from '@fieldproof/analytics/server/tokens';
import { afterEach } from '@jest/globals';
import type { FastifyInstance } from 'fastify';
import pino from 'pino';
import { type MemoryStore, memoryStore, type Point } from './memory-store.ts';

export const NOW_MS = Date.parse('2026-11-21T12:00:00Z');

export interface CallOptions {
  readonly method?: Method;
  readonly payload?: string | Buffer | object;
  readonly headers?: Record<string, string>;
}

const open: FastifyInstance[] = [];

afterEach(async () => {
  await Promise.all(open.splice(0).map((app) => app.close()));
});

export type Method = 'GET' | 'POST' | 'DELETE' | 'PUT';

/** Listens on a port of its own and is closed after the test. @param points - what the store holds at the start. */
export async function controlUnderTest(
  points: readonly Point[] = [],
  options: Partial<ControlServerOptions> = {},
) {
  const directory = await mkdtemp(join(tmpdir(), 'fieldproof-control-'));
  const time = { nowMs: NOW_MS };
  const clock = () => time.nowMs;
  const tokens = await openTokenStore({ directory, clock });
  const made = {
    read: (await tokens.create({ name: 'reader', scopes: ['read'] })).token,
    write: (await tokens.create({ name: 'writer', scopes: ['write'] })).token,
    admin: (await tokens.create({ name: 'admin', scopes: ['admin'] })).token,
  };
  const logged: string[] = [];
  const log = pino({ level: 'trace' }, { write: (line: string) => void logged.push(line) });
  const store: MemoryStore = memoryStore(points);
  const app = await createControlServer({
    ...{ store, storeKind: 'memory', tokens, clock, log, version: '0.0.0-test' },
    ...options,
  });
  const url = await app.listen({ port: 0, host: '127.0.0.1' });
  open.push(app);
  /** One request as the holder of the token of this scope. */
  const call = async (scope: keyof typeof made | null, path: string, rest: CallOptions = {}) => {
    const headers = new Headers(rest.headers);
    if (scope !== null) headers.set('authorization', `Bearer ${made[scope]}`);
    const { method = 'GET', payload } = rest;
    const raw = payload === undefined || typeof payload === 'string' || Buffer.isBuffer(payload);
    const response = await fetch(url + path, {
      ...{ method, headers, redirect: 'error' },
      ...(payload === undefined ? {} : { body: raw ? payload : JSON.stringify(payload) }),
    } as RequestInit);
    const body = await response.text();
    return {
      statusCode: response.status,
      headers: Object.fromEntries(response.headers) as Record<string, string | undefined>,
      body,
      // biome-ignore lint/suspicious/noExplicitAny: tests look into answers freely
      json: (): any => JSON.parse(body),
    };
  };
  return { app, url, store, tokens, tokenText: made, call, logged, time, directory };
}
