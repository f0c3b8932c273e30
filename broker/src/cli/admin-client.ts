/** Talks to the admin API of the broker whose data folder is on this machine. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FieldproofError } from '@fieldproof/protocol/errors';
import { BrokerError } from '../errors.ts';
import { tokenFile } from '../http/access.ts';
import { plainLine } from '../plain-text.ts';

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
      const url = options.url ?? read(addressFile(options.dataDir));
      const token = read(options.tokenFile ?? tokenFile(options.dataDir, 'admin'));
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
      const { code, detail } = (answer ?? {}) as { readonly code?: unknown; detail?: unknown };
      if (typeof code !== 'string' || typeof detail !== 'string') {
        const message = `${url}: expected the answer of a broker, got another with status ${response.status}`;
        throw new BrokerError('ERR_BROKER_UNREACHABLE', message);
      }
      throw new FieldproofError(plainLine(code), plainLine(detail));
    },
  };
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
