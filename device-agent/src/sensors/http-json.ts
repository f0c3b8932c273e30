/**
 * A device on the local network that answers GET with JSON: Shelly, Tasmota, an inverter, a web service.
 *
 * Follows redirects within one origin only, so that a header with a secret goes nowhere else. Leaves out
 * compressed answers and methods other than GET.
 */

import { readFile, stat } from 'node:fs/promises';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isAbsolute, join } from 'node:path';
import { AgentError, reasonOf } from '../errors.ts';
import { integer, list, section, shown, text } from '../schema.ts';
import { metricSpec } from './metric-keys.ts';
import { parseJson, readingsOf, VALUE_KEYS, type ValueKeys } from './metric-value.ts';
import type { SensorContext, SensorDriver } from './sensor.ts';

const MAX_REDIRECTS = 3;
const MAX_HEADERS = 16;

interface HttpJsonOptions {
  readonly url: string;
  readonly headersFile?: string | undefined;
  readonly caFile?: string | undefined;
  readonly timeoutMs: number;
  readonly maxBytes: number;
  readonly metrics: readonly ValueKeys[];
}

export const httpJsonDriver: SensorDriver<HttpJsonOptions> = {
  source: 'sensor',
  options: (value, path, problems) => {
    const options = section<HttpJsonOptions>({
      url: text({
        pattern: /^https?:\/\/[^\s@#]{1,1000}$/,
        is: 'an http or https address',
        byDefault: null,
      }),
      headersFile: text({ is: 'a file name', byDefault: undefined }),
      caFile: text({ is: 'a file name', byDefault: undefined }),
      timeoutMs: integer({ min: 100, max: 29_000, byDefault: 10_000 }),
      maxBytes: integer({ min: 16, max: 1_048_576, byDefault: 65_536 }),
      metrics: list(section<ValueKeys>(VALUE_KEYS), { min: 1, max: 256 }),
    })(value, path, problems);
    if (options.url !== '' && !URL.canParse(options.url)) {
      problems.push(`${path}.url: expected an http or https address, got ${shown(options.url)}`);
    }
    return options;
  },
  async create(context) {
    const { options, reject } = context;
    return {
      kind: 'pull',
      source: 'sensor',
      metrics: options.metrics.map(metricSpec),
      async read(signal) {
        const url = new URL(options.url);
        const body = await fetchBody(url, context, signal);
        const document = parseJson(body, reject);
        const readings =
          document === undefined ? [] : readingsOf(document, options.metrics, reject);
        if (readings.length > 0) return readings;
        throw failure(url, 'the answer has none of the metrics');
      },
    };
  },
};

/** The body of the answer, after redirects; all of it within `timeoutMs`. */
async function fetchBody(
  first: URL,
  context: SensorContext<HttpJsonOptions>,
  signal?: AbortSignal,
): Promise<string> {
  const { options, clock } = context;
  const headers = await loadHeaders(context);
  const ca = options.caFile && (await readFile(placed(options.caFile, context.dataDir)));
  const ends = new AbortController();
  const stopped = (): void => ends.abort(failure(first, 'was stopped'));
  const timer = clock.after(options.timeoutMs, () =>
    ends.abort(failure(first, `no whole answer within ${options.timeoutMs} ms`)),
  );
  signal?.addEventListener('abort', stopped, { once: true });
  if (signal?.aborted) stopped();
  try {
    let url = first;
    for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
      const answer = await call(url, { ...options, headers, ca: ca || undefined, ends, context });
      if (typeof answer === 'string') return answer;
      if (answer.origin !== first.origin) {
        throw failure(first, `redirects to ${answer.origin}, which is not followed`);
      }
      url = answer;
    }
    throw failure(first, `more than ${MAX_REDIRECTS} redirects`);
  } finally {
    clock.cancel(timer);
    signal?.removeEventListener('abort', stopped);
  }
}

/** One GET over a connection of its own: the body, or where it redirects to. */
function call(
  url: URL,
  options: {
    readonly headers: Readonly<Record<string, string>>;
    readonly ca: Buffer | undefined;
    readonly maxBytes: number;
    readonly ends: AbortController;
    readonly context: SensorContext<HttpJsonOptions>;
  },
): Promise<string | URL> {
  const { headers, ca, maxBytes, ends, context } = options;
  return new Promise((resolve, rejectCall) => {
    const answered = (answer: IncomingMessage): void => {
      const status = answer.statusCode ?? 0;
      const fail = (error: unknown): void => {
        exchange.destroy();
        rejectCall(error instanceof AgentError ? error : failure(url, reasonOf(error)));
      };
      const { location } = answer.headers;
      if (status >= 300 && status < 400 && location !== undefined) {
        exchange.destroy();
        if (URL.canParse(location, url.href)) resolve(new URL(location, url));
        else fail(failure(url, 'redirects to what is no address'));
        return;
      }
      const coding = answer.headers['content-encoding'] ?? 'identity';
      if (status !== 200 || coding !== 'identity') {
        fail(failure(url, status === 200 ? 'answered compressed' : `answered with ${status}`));
        return;
      }
      const chunks: Buffer[] = [];
      let length = 0;
      answer.on('data', (chunk: Buffer) => {
        length += chunk.length;
        if (length <= maxBytes) chunks.push(chunk);
        else if (length - chunk.length <= maxBytes) {
          context.reject('too-long', `more than ${maxBytes} bytes`);
          fail(failure(url, `answered with more than ${maxBytes} bytes`));
        }
      });
      answer.once('error', fail);
      answer.once('aborted', () => fail(new Error('the answer was cut off')));
      answer.once('end', () => {
        exchange.destroy();
        resolve(Buffer.concat(chunks).toString('utf8'));
      });
    };
    const exchange = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, {
      agent: false,
      headers: { accept: 'application/json', 'accept-encoding': 'identity', ...headers },
      maxHeaderSize: 16_384,
      signal: ends.signal,
      ...(ca === undefined ? {} : { ca }),
    });
    // Not once: what was destroyed may fail again.
    exchange.on('error', (error) =>
      rejectCall(
        ends.signal.aborted ? (ends.signal.reason as AgentError) : failure(url, reasonOf(error)),
      ),
    );
    exchange.once('response', answered);
    exchange.end();
  });
}

/** `Name: value`, one a line. The file holds secrets, so nobody else may read it. */
async function loadHeaders({
  options,
  dataDir,
}: SensorContext<HttpJsonOptions>): Promise<Record<string, string>> {
  if (options.headersFile === undefined) return {};
  const path = placed(options.headersFile, dataDir);
  const { mode, size } = await stat(path);
  if ((mode & 0o077) !== 0) {
    throw new AgentError('ERR_AGENT_SENSOR', `${path}: others can read it; chmod 600 it`);
  }
  const headers: Record<string, string> = {};
  const lines = size > 16_384 ? [''] : (await readFile(path, 'utf8')).trim().split(/\r?\n/);
  for (const [at, line] of lines.entries()) {
    const match = /^([A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}):[ \t]*([\x20-\x7e]{0,4096})$/.exec(line);
    // The line itself stays out of the message: it is a secret.
    if (match === null || at >= MAX_HEADERS) {
      throw new AgentError(
        'ERR_AGENT_SENSOR',
        `${path}: line ${at + 1}: expected 1 to ${MAX_HEADERS} lines of Name: value`,
      );
    }
    headers[match[1]!.toLowerCase()] = match[2]!;
  }
  return headers;
}

function placed(file: string, dataDir: string): string {
  return isAbsolute(file) ? file : join(dataDir, file);
}

/** Without the query, which may hold a key. */
function failure(url: URL, why: string): AgentError {
  return new AgentError('ERR_AGENT_SENSOR', `${url.origin}${url.pathname}: ${why}`);
}
