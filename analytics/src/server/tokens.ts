/**
 * Bearer tokens of the control API: random, scoped, expiring, and known to the server by hash only.
 *
 * A token is `fpt_` and 32 random bytes in base64url. The file holds SHA-256 of each, with name,
 * scopes and expiry; it belongs to one process. Plain tokens are written out only by `ensure`, for the
 * processes of this machine.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { chmod, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AnalyticsError } from '../errors.ts';
import { replaceFile } from '../replace-file.ts';

/** What a token may do: `config` sets devices from afar; `admin` may do everything. */
export const SCOPES = ['read', 'write', 'config', 'admin'] as const;
export type Scope = (typeof SCOPES)[number];

export const TOKEN_PREFIX = 'fpt_';
export const TOKEN_NAME_PATTERN = '^[a-z0-9][a-z0-9._-]{0,63}$';
export const MAX_TOKEN_DAYS = 3660;
export const DEFAULT_TOKEN_DAYS = 90;
/** Protects the constant-time search from growing without end. */
export const MAX_TOKENS = 1000;

const DAY_MS = 86_400_000;
const ENSURED_DAYS = 365;
const RENEW_BEFORE_DAYS = 30;
const FILE = 'tokens.json';

/** One token as the server knows it. */
export interface TokenRecord {
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** Unix ms. */
  readonly createdMs: number;
  readonly expiresMs: number;
}

interface StoredToken extends TokenRecord {
  /** SHA-256 of the token text, lower-case hex. */
  readonly sha256: string;
}

export interface TokenStoreOptions {
  /** Folder of `tokens.json` and of the plain token files. */
  readonly directory: string;
  /** Unix ms. */
  readonly clock: () => number;
  readonly random?: (size: number) => Uint8Array;
}

/** The tokens of one control process. */
export interface TokenStore {
  /** Who holds `token`. @throws {AnalyticsError} ERR_TOKEN_UNKNOWN, ERR_TOKEN_EXPIRED. */
  verify(token: string): TokenRecord;
  /**
   * Makes a token and returns its text, which is stored nowhere.
   *
   * @throws {AnalyticsError} ERR_TOKEN_NAME when the name is taken by a token that has not expired.
   */
  create(request: NewToken): Promise<TokenRecord & { readonly token: string }>;
  /** Sorted by name, expired ones included. */
  list(): readonly TokenRecord[];
  /** Ends a token at once. @throws {AnalyticsError} ERR_TOKEN_NAME when there is none. */
  revoke(name: string): Promise<void>;
  /**
   * Sees to it that `<directory>/<name>-token` (mode 0600) holds a valid token of these scopes for at
   * least another month, and says whether it had to make one.
   */
  ensure(
    name: string,
    scopes: readonly Scope[],
  ): Promise<{ readonly path: string; readonly created: boolean }>;
}

export interface NewToken {
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** Default DEFAULT_TOKEN_DAYS. */
  readonly days?: number;
}

/** Whether a holder of `scopes` may do what needs `scope`. */
export function scopeAllows(scopes: readonly Scope[], scope: Scope): boolean {
  return scopes.includes('admin') || scopes.includes(scope);
}

/**
 * Opens the token file of `directory`, which is made when missing.
 *
 * @throws {AnalyticsError} ERR_TOKEN_FILE when the file is there but is not a list of tokens.
 */
export async function openTokenStore(options: TokenStoreOptions): Promise<TokenStore> {
  const { directory, clock, random = randomBytes } = options;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, FILE);
  let tokens = await load(path);
  let queue: Promise<unknown> = Promise.resolve();

  /** Changes are made one after the other, and take effect when they are durable. */
  const change = <T>(edit: () => { next: readonly StoredToken[]; result: T }): Promise<T> => {
    const work = queue.then(async () => {
      const { next, result } = edit();
      await replaceFile(path, `${JSON.stringify({ version: 1, tokens: next }, null, 2)}\n`);
      tokens = next;
      return result;
    });
    queue = work.catch(() => undefined);
    return work;
  };

  const issue = ({ name, scopes, days = DEFAULT_TOKEN_DAYS }: NewToken, replace: boolean) =>
    change(() => {
      const now = clock();
      const known = tokens.find((token) => token.name === name);
      if (!replace && known !== undefined && known.expiresMs > now) {
        throw new AnalyticsError('ERR_TOKEN_NAME', `token ${name}: there is already one`);
      }
      const others = tokens.filter((token) => token.name !== name);
      if (others.length >= MAX_TOKENS) {
        throw new AnalyticsError('ERR_TOKEN_NAME', `tokens: expected at most ${MAX_TOKENS}`);
      }
      const token = TOKEN_PREFIX + Buffer.from(random(32)).toString('base64url');
      const record = { name, scopes, createdMs: now, expiresMs: now + days * DAY_MS };
      const stored = { ...record, sha256: hash(token).toString('hex') };
      return { next: [...others, stored], result: { ...record, token } };
    });

  const verify = (token: string): TokenRecord => {
    const given = hash(token);
    let found: StoredToken | undefined;
    // Every hash is compared, in constant time, so that timing tells nothing about any of them.
    for (const stored of tokens) {
      if (timingSafeEqual(given, Buffer.from(stored.sha256, 'hex'))) found = stored;
    }
    if (found === undefined) {
      throw new AnalyticsError('ERR_TOKEN_UNKNOWN', 'token: not known to this server');
    }
    if (found.expiresMs <= clock()) {
      const when = new Date(found.expiresMs).toISOString();
      throw new AnalyticsError('ERR_TOKEN_EXPIRED', `token ${found.name}: expired at ${when}`);
    }
    return withoutHash(found);
  };

  const stillGood = async (file: string, name: string, scopes: readonly Scope[]) => {
    try {
      const record = verify((await readFile(file, 'utf8')).trim());
      return (
        record.name === name &&
        scopes.every((scope) => record.scopes.includes(scope)) &&
        record.scopes.length === scopes.length &&
        record.expiresMs - clock() > RENEW_BEFORE_DAYS * DAY_MS
      );
    } catch {
      return false;
    }
  };

  return {
    verify,
    create: (request) => issue(request, false),
    list: () => tokens.map(withoutHash).sort((a, b) => (a.name < b.name ? -1 : 1)),
    revoke: (name) =>
      change(() => {
        if (!tokens.some((token) => token.name === name)) {
          throw new AnalyticsError('ERR_TOKEN_NAME', `token ${name}: there is none`);
        }
        return { next: tokens.filter((token) => token.name !== name), result: undefined };
      }),
    ensure: async (name, scopes) => {
      const file = join(directory, `${name}-token`);
      if (await stillGood(file, name, scopes)) {
        await chmod(file, 0o600);
        return { path: file, created: false };
      }
      const { token } = await issue({ name, scopes, days: ENSURED_DAYS }, true);
      await replaceFile(file, `${token}\n`);
      return { path: file, created: true };
    },
  };
}

const hash = (token: string): Buffer => createHash('sha256').update(token, 'utf8').digest();

function withoutHash({ name, scopes, createdMs, expiresMs }: StoredToken): TokenRecord {
  return { name, scopes, createdMs, expiresMs };
}

async function load(path: string): Promise<readonly StoredToken[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new AnalyticsError('ERR_TOKEN_FILE', `${path}: cannot be read`, { cause: error });
  }
  try {
    const { version, tokens } = JSON.parse(text) as { version: unknown; tokens: unknown };
    if (version === 1 && Array.isArray(tokens) && tokens.every(isStoredToken)) return tokens;
  } catch {
    // not JSON: said below
  }
  throw new AnalyticsError('ERR_TOKEN_FILE', `${path}: expected version 1 with a list of tokens`);
}

function isStoredToken(value: unknown): value is StoredToken {
  if (typeof value !== 'object' || value === null) return false;
  const { name, scopes, createdMs, expiresMs, sha256 } = value as Record<string, unknown>;
  return (
    typeof name === 'string' &&
    Array.isArray(scopes) &&
    scopes.every((scope) => (SCOPES as readonly unknown[]).includes(scope)) &&
    typeof createdMs === 'number' &&
    typeof expiresMs === 'number' &&
    typeof sha256 === 'string' &&
    /^[0-9a-f]{64}$/.test(sha256)
  );
}
