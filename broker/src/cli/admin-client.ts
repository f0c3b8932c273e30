/** Talks to the admin API of the broker whose data folder is on this machine. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FieldproofError } from '@fieldproof/protocol/errors';
import { BrokerError } from '../errors.ts';
import { tokenFile } from '../http/access.ts';
import { isLoopback } from '../loopback.ts';
import { plainLine } from '../plain-text.ts';
import { readBytes } from '../root-key.ts';

export interface AdminClient {
  /** @throws {FieldproofError} with the code of the problem details; ERR_BROKER_UNREACHABLE. */
  call(method: string, path: string, body?: object): Promise<unknown>;
}

/** File in the data folder in which a running broker leaves its plain HTTP address. */
export function addressFile(dataDir: string): string {
  return join(dataDir, 'http.url');
}

/**
 * @param options.url - overrides the address that the broker left in its data folder.
 * @param options.tokenFile - overrides the token there that may everything.
 */
export function createAdminClient(options: {
  readonly dataDir: string;
  readonly url?: string;
  readonly tokenFile?: string;
}): AdminClient {
  return {
    call: async (method, path, body) => {
      const url = addressOf(options);
      refuseClearText(url);
      const token = tokenOf(options);
      const headers = {
        authorization: `Bearer ${token}`,
        ...(body && { 'content-type': 'application/json' }),
      };
      const init = { method, headers, ...(body && { body: JSON.stringify(body) }) };
      const response = await fetch(`${url}${path}`, init).catch((cause: unknown) => {
        throw new BrokerError('ERR_BROKER_UNREACHABLE', `${url}: no answer`, { cause });
      });
      const answer = parseAnswer(await response.text());
      if (response.ok && answer !== undefined) return answer;
      throw problemIn(answer, { url, status: response.status });
    },
  };
}

/**
 * Sends a signed request that needs no token, such as one of a device's owner.
 *
 * @throws {FieldproofError} as `call`.
 */
export async function sendSigned(
  path: string,
  request: Uint8Array,
  options: { readonly dataDir: string; readonly url?: string },
): Promise<Uint8Array> {
  const url = addressOf(options);
  const headers = { 'content-type': 'application/cose; cose-type="cose-sign1"' };
  const init = { method: 'POST', headers, body: Buffer.from(request) };
  const response = await fetch(`${url}${path}`, init).catch((cause: unknown) => {
    throw new BrokerError('ERR_BROKER_UNREACHABLE', `${url}: no answer`, { cause });
  });
  if (response.ok) return new Uint8Array(await response.arrayBuffer());
  throw problemIn(parseAnswer(await response.text()), { url, status: response.status });
}

/** @throws {BrokerError} ERR_FILE_UNREADABLE for a file that was named; ERR_BROKER_UNREACHABLE. */
function tokenOf({
  dataDir,
  tokenFile: named,
}: {
  readonly dataDir: string;
  readonly tokenFile?: string;
}): string {
  return named === undefined
    ? read(tokenFile(dataDir, 'admin'))
    : Buffer.from(readBytes(named)).toString().trim();
}

/** Without a slash at its end. @throws {BrokerError} ERR_BROKER_UNREACHABLE. */
function addressOf({
  dataDir,
  url = read(addressFile(dataDir)),
}: {
  readonly dataDir: string;
  readonly url?: string;
}): string {
  if (!URL.canParse(url)) {
    throw new BrokerError(
      'ERR_BROKER_UNREACHABLE',
      `${url}: expected a URL such as https://broker:7885`,
    );
  }
  return url.replace(/\/+$/, '');
}

/** @throws {BrokerError} ERR_ADMIN_CLEAR. */
function refuseClearText(url: string): void {
  const { protocol, hostname } = new URL(url);
  if (protocol === 'https:' || isLoopback(hostname)) return;
  throw new BrokerError('ERR_ADMIN_CLEAR', `${url}: expected https, or an address of this machine`);
}

/** What a broker says is wrong; that it is none where the answer is of another form. */
function problemIn(
  answer: unknown,
  { url, status }: { readonly url: string; readonly status: number },
): FieldproofError {
  const { code, detail } = (answer ?? {}) as { readonly code?: unknown; detail?: unknown };
  if (typeof code === 'string' && typeof detail === 'string') {
    return new FieldproofError(plainLine(code), plainLine(detail));
  }
  const message = `${url}: expected the answer of a broker, got another with status ${status}`;
  return new BrokerError('ERR_BROKER_UNREACHABLE', message);
}

/** Undefined: none of a broker. */
function parseAnswer(text: string): unknown {
  try {
    return text === '' ? null : JSON.parse(text);
  } catch {
    return undefined;
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (cause) {
    throw new BrokerError('ERR_BROKER_UNREACHABLE', `${path}: cannot be read`, { cause });
  }
}
