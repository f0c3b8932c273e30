/**
 * Bearer tokens for processes and operators. Made on first start, one file each, mode 0600:
 * `tokens/admin` may everything, `tokens/service` reads the evidence and publishes down messages.
 */

import { createHash, timingSafeEqual } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { toBase64url } from '@fieldproof/protocol/bytes';
import type { FastifyRequest } from 'fastify';
import { BrokerError } from '../errors.ts';
import { replaceFile } from '../replace-file.ts';

/** What a bearer token may be for; broker/README.md says which routes each opens. `admin`: all of them. */
export const SCOPES = [
  'read',
  'devices',
  'enrol',
  'suspend',
  'keys',
  'access',
  'mqtt',
  'tail',
  'bodies',
  'down',
  'admin',
] as const;
export type Scope = (typeof SCOPES)[number];

const FILES: Readonly<Record<string, readonly Scope[]>> = {
  admin: ['admin'],
  service: ['tail', 'bodies', 'down'],
};

const TOKEN_BYTES = 32;
/** Of 32 bytes in base64url. */
const TOKEN_CHARACTERS = 43;

export type Access = (request: FastifyRequest, scope: Scope) => void;

/** Path of a token file. */
export function tokenFile(dataDir: string, name: 'admin' | 'service'): string {
  return join(dataDir, 'tokens', name);
}

/**
 * Loads the token files, making those that are missing, and, told to `onReplaced`, those that hold no whole token.
 *
 * @returns a check that throws ERR_UNAUTHORIZED unless a request carries a token of the scope.
 */
export function loadAccess(
  dataDir: string,
  random: (bytes: number) => Uint8Array,
  onReplaced: (path: string) => void = () => {},
): Access {
  const tokens = Object.entries(FILES).map(([name, scopes]) => {
    const path = tokenFile(dataDir, name as 'admin' | 'service');
    const found = existsSync(path) ? readFileSync(path, 'utf8').trim() : null;
    if (found !== null && isToken(found)) return { hash: sha256(found), scopes };
    const made = toBase64url(random(TOKEN_BYTES));
    replaceFile(path, `${made}\n`);
    if (found !== null) onReplaced(path);
    return { hash: sha256(made), scopes };
  });
  return (request, scope) => {
    const presented = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
    const hash = sha256(presented ?? '');
    const allowed = tokens.some(
      (token) => timingSafeEqual(token.hash, hash) && mayUse(token.scopes, scope),
    );
    if (presented === undefined || !allowed) {
      throw new BrokerError('ERR_UNAUTHORIZED', `authorization: expected a token of ${scope}`);
    }
  };
}

/**
 * Whether it is a whole token that a header can carry: of a file that was emptied, cut or overwritten what is left lets
 * nobody in, or is guessed. One that an operator put there may be longer.
 */
function isToken(text: string): boolean {
  return text.length >= TOKEN_CHARACTERS && /^[\x21-\x7e]+$/.test(text);
}

/** Whether scopes open what is for one of them. */
export function mayUse(scopes: readonly Scope[], scope: Scope): boolean {
  return scopes.includes(scope) || scopes.includes('admin');
}

function sha256(text: string): Uint8Array {
  return createHash('sha256').update(text).digest();
}
