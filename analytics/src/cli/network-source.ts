/** Where the evidence is, for commands that read it: flags, environment, then the network in the data folder. */
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseCheckpoint } from '@fieldproof/protocol/checkpoint';
import { parseNote } from '@fieldproof/protocol/signed-note';
import type { Command } from 'commander';
import { AnalyticsError } from '../errors.ts';
import type { TailSource } from '../projection/tail-client.ts';
import type { CliIo } from './api-client.ts';

const DEFAULT_BROKER = 'http://127.0.0.1:7880';
const TIMEOUT_MS = 5000;
const DURATION = /^(\d+)(s|m|h)$/;
const UNIT_MS = { s: 1000, m: 60_000, h: 3_600_000 } as const;
const MAX_WINDOW_MS = 24 * UNIT_MS.h;

/** Adds the options that {@link tailSource} reads. */
export function withTailOptions(command: Command): Command {
  return command
    .option('--broker-url <address>', 'HTTP address of the broker')
    .option('--tail-token-file <path>', 'file of a token with the scope tail');
}

/**
 * The tail of the network that is meant.
 *
 * @throws {AnalyticsError} ERR_USAGE for an address that is none.
 */
export async function tailSource(
  io: CliIo,
  options: Readonly<Record<string, unknown>>,
): Promise<TailSource> {
  const data = resolve(io.cwd, String(options.data ?? 'data'));
  const url =
    text(options.brokerUrl) ??
    text(io.env.FIELDPROOF_BROKER_URL) ??
    (await runningBroker(data)) ??
    DEFAULT_BROKER;
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new AnalyticsError('ERR_USAGE', `broker-url: expected http(s)://…, got ${url}`);
  }
  const named = text(options.tailTokenFile) ?? text(io.env.FIELDPROOF_TAIL_TOKEN_FILE);
  const path = resolve(io.cwd, named ?? join(data, 'broker', 'tokens', 'service'));
  return { url, token: () => readFile(path, 'utf8') };
}

/** Entries that the broker has published, as its checkpoint says; undefined when it does not answer. */
export async function publishedSize(io: CliIo, { url }: TailSource): Promise<number | undefined> {
  try {
    const address = `${url.replace(/\/+$/, '')}/log/evidence/checkpoint`;
    const answer = await io.fetch(address, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    return answer.ok ? parseCheckpoint(parseNote(await answer.text()).text).size : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Window lengths from texts like `10s`, `1m`, `1h`, in ms.
 *
 * @throws {AnalyticsError} ERR_USAGE.
 */
export function windowLengths(texts: readonly string[]): number[] {
  const lengths = texts.map((one) => {
    const [, count, unit] = DURATION.exec(one) ?? [];
    const ms = Number(count) * UNIT_MS[unit as keyof typeof UNIT_MS];
    if (ms > 0 && ms <= MAX_WINDOW_MS) return ms;
    throw new AnalyticsError('ERR_USAGE', `window: expected 10s, 1m, 1h, …, got ${one}`);
  });
  return [...new Set(lengths)];
}

async function runningBroker(data: string): Promise<string | undefined> {
  try {
    const { broker } = JSON.parse(await readFile(join(data, 'network.json'), 'utf8')) as {
      broker?: { http?: unknown };
    };
    return text(broker?.http);
  } catch {
    return undefined;
  }
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
