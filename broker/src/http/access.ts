/**
 * Bearer tokens of processes, and the check of those and of people's (`registry/access-desk.ts`). Made on first start, one
 * file each, mode 0600: `tokens/admin` may everything, `tokens/service` reads the evidence and publishes down messages.
 */

import { createHash, timingSafeEqual } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { toBase64url } from '@fieldproof/protocol/bytes';
import type { FastifyRequest } from 'fastify';
import { BrokerError } from '../errors.ts';
import type { AccessIdentity } from '../registry/access-desk.ts';
import { replaceFile } from '../replace-file.ts';
import { mayUse, type Scope } from './scopes.ts';

const FILES: Readonly<Record<string, readonly Scope[]>> = {
  admin: ['admin'],
  service: ['tail', 'bodies', 'down'],
};

const TOKEN_BYTES = 32;
/** Of 32 bytes in base64url. */
const TOKEN_CHARACTERS = 43;

/** Lets requests in by their bearer tokens. */
export interface Access {
  /** @throws {BrokerError} ERR_UNAUTHORIZED without a token; ERR_SCOPE with one that does not open this. */
  (request: FastifyRequest, scope: Scope): AccessIdentity;
  /** Who presents a token; null for one that lets nobody in. */
  readonly judge: (text: string) => AccessIdentity | null;
}

/** Path of a token file. */
export function tokenFile(dataDir: string, name: 'admin' | 'service'): string {
  return join(dataDir, 'tokens', name);
}

/**
 * Loads the token files, making those that are missing, and, told to `onReplaced`, those that hold no whole token.
 *
 * @param judgeNamed - knows tokens that are not in files.
 * @returns a check that throws ERR_UNAUTHORIZED unless a request carries a token, and ERR_SCOPE unless it is of the scope.
 */
export function loadAccess(
  dataDir: string,
  random: (bytes: number) => Uint8Array,
  onReplaced: (path: string) => void = () => {},
  judgeNamed: (text: string) => AccessIdentity | null = () => null,
): Access {
  const tokens = Object.entries(FILES).map(([name, scopes]) => {
    const path = tokenFile(dataDir, name as 'admin' | 'service');
    const found = existsSync(path) ? readFileSync(path, 'utf8').trim() : null;
    if (found !== null && isToken(found)) return { name, hash: sha256(found), scopes };
    const made = toBase64url(random(TOKEN_BYTES));
    replaceFile(path, `${made}\n`);
    if (found !== null) onReplaced(path);
    return { name, hash: sha256(made), scopes };
  });
  const judge = (text: string): AccessIdentity | null => {
    const hash = sha256(text);
    let found: AccessIdentity | null = null;
    for (const { name, hash: own, scopes } of tokens) {
      if (timingSafeEqual(own, hash)) found = { name, scopes, hash: null, expiresAt: null };
    }
    return found ?? judgeNamed(text);
  };
  const check = (request: FastifyRequest, scope: Scope): AccessIdentity => {
    const presented = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
    const identity = presented === undefined ? null : judge(presented);
    if (identity !== null && mayUse(identity.scopes, scope)) return identity;
    if (identity === null) {
      throw new BrokerError('ERR_UNAUTHORIZED', `authorization: expected a token of ${scope}`);
    }
    throw new BrokerError(
      'ERR_SCOPE',
      `authorization: expected a token of ${scope}, got one of ${identity.scopes.join(', ')}`,
    );
  };
  return Object.assign(check, { judge });
}

/**
 * Whether it is a whole token that a header can carry: of a file that was emptied, cut or overwritten what is left lets
 * nobody in, or is guessed. One that an operator put there may be longer.
 */
function isToken(text: string): boolean {
  return text.length >= TOKEN_CHARACTERS && /^[\x21-\x7e]+$/.test(text);
}

function sha256(text: string): Uint8Array {
  return createHash('sha256').update(text).digest();
}
