/**
 * Named bearer tokens of people and programs: made, revoked and judged. docs/spec/registry.md section 7.
 *
 * The log is the truth about them: creation and revocation are appended first, in force then. The database has the names,
 * and when they were used; without it the tokens come back from the log, nameless.
 */

import { createHash, timingSafeEqual } from 'node:crypto';
import { fromHex, toBase64url, toHex } from '@fieldproof/protocol/bytes';
import {
  MAX_SCOPES,
  type RegistryAction,
  type UnknownAction,
} from '@fieldproof/protocol/registry-actions';
import { BrokerError } from '../errors.ts';
import { coverScopes, isScope, mayUse, type Scope } from '../http/scopes.ts';
import {
  type AccessToken,
  putAccessTokens,
  readAccessTokens,
  removeAccessTokens,
} from './access-table.ts';
import { type ActionLogOptions, logAction } from './action-log.ts';
import type { RegistryDatabase } from './database.ts';
import type { TokenDesk } from './token-desk.ts';
import { WriteBehind } from './write-behind.ts';

/** Who presents a token, and what it opens. */
export interface AccessIdentity {
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** SHA-256 of its text, hex; null for one of a file, which stands above all others. */
  readonly hash: string | null;
  /** Unix ms; null: it does not end by itself. */
  readonly expiresAt: number | null;
}

export interface AccessDeskOptions extends ActionLogOptions {
  readonly db: RegistryDatabase;
  readonly random: (bytes: number) => Uint8Array;
  readonly onDatabaseError: (error: unknown) => void;
  /** Enrolment tokens: those that were made with a token end with it. */
  readonly enrolments: Pick<TokenDesk, 'endMadeWith' | 'settle'>;
  /** Tokens that were revoked or have ended which lists still show. */
  readonly maxEnded?: number;
}

export interface NewAccessToken {
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** Unix ms; null: it does not end by itself. Absent: 90 days, or with its maker where that is sooner. */
  readonly expiresAt?: number | null;
}

/** Makes a token of ours known as one, to people and to programs that look for leaked secrets. */
export const ACCESS_TOKEN_PREFIX = 'fpa_';
/** Longest text that is looked at. */
const MAX_TOKEN_CHARACTERS = 128;
const TOKEN_BYTES = 32;
/** Tokens that are not revoked: each presented one is compared with all of them. */
export const MAX_ACCESS_TOKENS = 1000;
/** Default of `maxEnded`. */
const MAX_ENDED = 1000;
/** Of those beyond, how many are forgotten at once. */
const MAX_FORGOTTEN = 1000;
/** Least characters of a hash that name a token. */
const MIN_PREFIX = 6;
const DEFAULT_LIFE_MS = 90 * 86_400_000;

export class AccessDesk {
  readonly #options: AccessDeskOptions;
  readonly #tokens = new Map<string, { token: AccessToken; readonly digest: Uint8Array }>();
  /** Hashes whose rows the database has yet to take. */
  readonly #unwritten = new Set<string>();
  /** The same of tokens that were used. */
  readonly #used = new Set<string>();
  #turn: Promise<unknown> = Promise.resolve();
  /** Nobody waits for the database: what the log has holds. */
  readonly #writing = new WriteBehind(() => this.#write());

  constructor(options: AccessDeskOptions) {
    this.#options = options;
  }

  async load(): Promise<void> {
    for (const token of await readAccessTokens(this.#options.db)) this.#put(token);
  }

  /** All of them, oldest first. */
  list(): readonly AccessToken[] {
    return [...this.#tokens.values()].map(({ token }) => token);
  }

  /**
   * Who presents a token; null for one that is unknown, revoked or has ended. Takes as long for each text.
   */
  judge(text: string): AccessIdentity | null {
    const now = this.#options.now();
    const digest = digestOf(text.slice(0, MAX_TOKEN_CHARACTERS));
    let found: AccessToken | null = null;
    for (const known of this.#tokens.values()) {
      if (timingSafeEqual(known.digest, digest)) found = known.token;
    }
    if (found === null || !isUsable(found, now)) return null;
    this.#put({ ...found, lastUsedAt: now });
    this.#used.add(found.hash);
    const { hash, name, scopes, expiresAt } = found;
    return { name: name || hash.slice(0, 12), scopes, hash, expiresAt };
  }

  /** Those that somebody may see and end: none opens more than theirs does. Oldest first. */
  listFor(reader: AccessIdentity): readonly AccessToken[] {
    return this.list().filter(({ scopes }) => coverScopes(reader.scopes, scopes));
  }

  /**
   * Makes a token.
   *
   * @param maker - who asks: nobody gives what they have not, nor for longer than they have it.
   * @returns its text, which is kept nowhere.
   * @throws {BrokerError} ERR_SCOPE, ERR_OUTLIVES, ERR_UNAUTHORIZED when the maker's has ended meanwhile, ERR_REQUEST,
   * ERR_REGISTRY_DATABASE, ERR_LOG_FULL.
   */
  create(
    wanted: NewAccessToken,
    maker: AccessIdentity,
  ): Promise<{ readonly text: string; readonly token: AccessToken }> {
    return this.#inTurn(async () => {
      const { random, now } = this.#options;
      this.#requireUsable(maker);
      const scopes = [...new Set(wanted.scopes)];
      if (scopes.length === 0)
        throw new BrokerError('ERR_REQUEST', 'scopes: expected at least one');
      const missing = scopes.filter((scope) => !mayUse(maker.scopes, scope));
      if (missing.length > 0) {
        const own = maker.scopes.join(', ');
        throw new BrokerError(
          'ERR_SCOPE',
          `scopes: expected some of ${own}, got ${missing.join(', ')}`,
        );
      }
      if (this.#unwritten.size >= MAX_ACCESS_TOKENS) {
        const message = 'access token: the database has yet to take others';
        throw new BrokerError('ERR_REGISTRY_DATABASE', message);
      }
      const active = this.list().filter((token) => isUsable(token, now())).length;
      if (active >= MAX_ACCESS_TOKENS) {
        throw new BrokerError('ERR_REQUEST', `access tokens: expected below ${MAX_ACCESS_TOKENS}`);
      }
      const text = `${ACCESS_TOKEN_PREFIX}${toBase64url(random(TOKEN_BYTES))}`;
      const hash = toHex(digestOf(text));
      const { name } = wanted;
      const expiresAt = endWithin(maker, wanted.expiresAt, now() + DEFAULT_LIFE_MS);
      const madeBy = maker.hash;
      const action: RegistryAction = {
        ...{ action: 'access', subject: hash, scopes, expires: expiresAt },
        ...(madeBy !== null && { by: fromHex(madeBy) }),
      };
      const { at } = await logAction(action, this.#options);
      const made = { createdAt: at, revoked: false, lastUsedAt: null };
      const token: AccessToken = { hash, name, scopes, expiresAt, madeBy, ...made };
      this.#put(token);
      this.#unwritten.add(hash);
      void this.#writing.run();
      return { text, token };
    });
  }

  /**
   * Ends a token, and those of both kinds that were made with it.
   *
   * @param prefix - of its hash; as much as names one.
   * @param revoker - who asks: nobody ends what opens more than theirs does.
   * @returns it, the others, and the hashes of enrolment tokens.
   * @throws {BrokerError} ERR_NOT_FOUND, ERR_SCOPE, ERR_UNAUTHORIZED, ERR_REQUEST when it names several, ERR_LOG_FULL.
   */
  revoke(
    prefix: string,
    revoker: AccessIdentity,
  ): Promise<{
    readonly token: AccessToken;
    readonly others: readonly AccessToken[];
    readonly enrolments: readonly string[];
  }> {
    return this.#inTurn(async () => {
      this.#requireUsable(revoker);
      const named = this.list().filter(({ hash, revoked }) => !revoked && hash.startsWith(prefix));
      const [token, another] = named;
      if (prefix.length < MIN_PREFIX || another !== undefined) {
        throw new BrokerError(
          'ERR_REQUEST',
          `hash: expected ${MIN_PREFIX} or more characters that name one token, got ${prefix.slice(0, 64)}`,
        );
      }
      if (token === undefined) {
        throw new BrokerError(
          'ERR_NOT_FOUND',
          `access token ${prefix.slice(0, 64)}: there is none`,
        );
      }
      if (!coverScopes(revoker.scopes, token.scopes)) {
        throw new BrokerError(
          'ERR_SCOPE',
          `access token ${token.hash.slice(0, 12)}: expected a token of ${token.scopes.join(', ')} to end it`,
        );
      }
      // The token itself last: what a crash or a full disk leaves of this is done by asking again.
      const ended = [...this.#madeWith(token.hash), token.hash];
      const enrolments: string[] = [];
      for (const hash of ended) {
        enrolments.push(...(await this.#options.enrolments.endMadeWith(hash)));
        await logAction({ action: 'access-revoke', subject: hash }, this.#options);
        this.#put({ ...this.#tokens.get(hash)!.token, revoked: true });
        this.#unwritten.add(hash);
      }
      void this.#writing.run();
      await this.#options.enrolments.settle();
      const [own, ...others] = ended.reverse().map((hash) => this.#tokens.get(hash)!.token);
      return { token: own!, others, enrolments };
    });
  }

  /**
   * Does what somebody asks for with a token while it cannot end.
   *
   * @throws {BrokerError} ERR_UNAUTHORIZED when it has ended; what `work` throws.
   */
  inForce<T>(bearer: AccessIdentity, work: () => Promise<T>): Promise<T> {
    return this.#inTurn(() => {
      this.#requireUsable(bearer);
      return work();
    });
  }

  /** Applies a `registry` entry that the database may have missed. @returns whether it was about an access token. */
  async catchUp(
    action: RegistryAction | UnknownAction,
    { at }: { readonly at: number },
  ): Promise<boolean> {
    if (action.action !== 'access' && action.action !== 'access-revoke') return false;
    const known = this.#tokens.get(action.subject)?.token;
    const token =
      action.action === 'access'
        ? (known ?? {
            hash: action.subject,
            name: '',
            scopes: action.scopes.filter(isScope).slice(0, MAX_SCOPES),
            createdAt: at,
            expiresAt: action.expires,
            madeBy: action.by === undefined ? null : toHex(action.by),
            revoked: false,
            lastUsedAt: null,
          })
        : known && { ...known, revoked: true };
    if (token === undefined || !/^[0-9a-f]{64}$/.test(token.hash)) return true;
    this.#put(token);
    await putAccessTokens(this.#options.db, [token]);
    return true;
  }

  /** Tokens whose names the database has lost. */
  get nameless(): number {
    return this.list().filter(({ name, revoked }) => name === '' && !revoked).length;
  }

  /** @returns whether the database has everything of what the log says. */
  async settle(): Promise<boolean> {
    await this.#writing.run();
    return this.#unwritten.size === 0;
  }

  /** Hashes of the tokens in force that were made with one, or with one of those; the youngest generation first. */
  #madeWith(hash: string): readonly string[] {
    const found = [hash];
    // Grows while it is walked.
    for (const maker of found) {
      for (const { hash: made, madeBy, revoked } of this.list()) {
        if (madeBy === maker && !revoked && !found.includes(made)) found.push(made);
      }
    }
    return found.slice(1).reverse();
  }

  /** A request may have waited behind the one that ended its own token. */
  #requireUsable({ hash, name }: AccessIdentity): void {
    if (hash === null) return;
    const token = this.#tokens.get(hash)?.token;
    if (token !== undefined && isUsable(token, this.#options.now())) return;
    throw new BrokerError('ERR_UNAUTHORIZED', `authorization: the token of ${name} has ended`);
  }

  #put(token: AccessToken): void {
    this.#tokens.set(token.hash, { token, digest: fromHex(token.hash) });
  }

  /** Beyond `maxEnded` the oldest go: each presented token is compared with all that are known. */
  async #forgetEnded(): Promise<void> {
    const { db, now, maxEnded = MAX_ENDED, onDatabaseError } = this.#options;
    const ended = this.list().filter(
      (token) => !isUsable(token, now()) && !this.#unwritten.has(token.hash),
    );
    const tooMany = Math.min(MAX_FORGOTTEN, Math.max(0, ended.length - maxEnded));
    const hashes = ended.slice(0, tooMany).map(({ hash }) => hash);
    if (hashes.length === 0) return;
    for (const hash of hashes) this.#tokens.delete(hash);
    await removeAccessTokens(db, hashes).catch(onDatabaseError);
  }

  async #write(): Promise<void> {
    const hashes = [...this.#unwritten];
    const all = [...new Set([...hashes, ...this.#used])];
    if (all.length === 0) return;
    this.#unwritten.clear();
    this.#used.clear();
    try {
      const tokens = all.map((hash) => this.#tokens.get(hash)?.token);
      await putAccessTokens(
        this.#options.db,
        tokens.filter((token) => token !== undefined),
      );
      await this.#forgetEnded();
    } catch (error) {
      for (const hash of hashes) this.#unwritten.add(hash);
      this.#options.onDatabaseError(error);
    }
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work, work);
    this.#turn = turn.catch(() => {});
    return turn;
  }
}

/** Whether a token lets its bearer in at a time, Unix ms. */
export function isUsable({ revoked, expiresAt }: AccessToken, at: number): boolean {
  return !revoked && (expiresAt === null || at < expiresAt);
}

/**
 * When what is made with a token ends.
 *
 * @param wanted - Unix ms; null: not by itself; undefined: at `fallback`, or with the maker's where that is sooner.
 * @throws {BrokerError} ERR_OUTLIVES when that is after the maker's own end.
 */
export function endWithin<Wanted extends number | null>(
  { expiresAt: end }: Pick<AccessIdentity, 'expiresAt'>,
  wanted: Wanted | undefined,
  fallback: number,
): Wanted | number {
  if (end === null) return wanted === undefined ? fallback : wanted;
  if (wanted === undefined) return Math.min(fallback, end);
  if (wanted !== null && wanted <= end) return wanted;
  const own = new Date(end).toISOString();
  const got = wanted === null ? 'none' : new Date(wanted).toISOString();
  throw new BrokerError('ERR_OUTLIVES', `end: expected ${own} or before, got ${got}`);
}

function digestOf(text: string): Uint8Array {
  return createHash('sha256').update(text).digest();
}
