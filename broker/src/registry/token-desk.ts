/**
 * Enrolment tokens: made, revoked, and built again from the log. docs/spec/registry.md section 7.4.
 *
 * Creation and revocation are entries of the log, durable first. How often a token was used is in the database, where uses
 * are taken one by one; a database that is gone, or an older copy, learns it from the enrolments that name the token.
 * Those that were made with an access token end with it, also while the database is down.
 */

import { fromHex, toHex } from '@fieldproof/protocol/bytes';
import type { RegistryAction, UnknownAction } from '@fieldproof/protocol/registry-actions';
import { TOKEN_BYTES } from '@fieldproof/protocol/statements';
import { BrokerError } from '../errors.ts';
import { plainLine } from '../plain-text.ts';
import type { AccessDesk, AccessIdentity } from './access-desk.ts';
import { type ActionLogOptions, logAction } from './action-log.ts';
import { type NewToken, type Registry, type Token, tokenHash } from './registry.ts';
import { WriteBehind } from './write-behind.ts';

export interface TokenDeskOptions extends ActionLogOptions {
  readonly registry: Registry;
  readonly random: (bytes: number) => Uint8Array;
  readonly onDatabaseError: (error: unknown) => void;
  readonly inForce: AccessDesk['inForce'];
}

/** Of hashes, as for access tokens: less would name others tomorrow. */
const MIN_PREFIX = 6;

/** What the database has yet to take. */
type Change = () => Promise<unknown>;

export class TokenDesk {
  readonly #options: TokenDeskOptions;
  #unwritten: Change[] = [];
  readonly #writing = new WriteBehind(() => this.#write());
  /** Enrolments that name a token, in what a start reads. */
  readonly #counted = new Map<string, number>();
  /** Tokens that were made with access tokens and are not revoked, by their hashes. */
  readonly #made = new Map<string, { readonly by: string; readonly expiresAt: number }>();

  constructor(options: TokenDeskOptions) {
    this.#options = options;
  }

  async load(): Promise<void> {
    for (const { hash, madeBy, revoked, expiresAt } of await this.#options.registry.tokens()) {
      if (madeBy !== null && !revoked) this.#made.set(hash, { by: madeBy, expiresAt });
    }
  }

  /**
   * Makes a token.
   *
   * @param maker - who asks: it ends with the token of theirs.
   * @returns its secret, which is kept nowhere.
   * @throws {BrokerError} ERR_UNAUTHORIZED when the maker's has ended meanwhile; ERR_LOG_FULL; ERR_REGISTRY_DATABASE when
   * nobody could use it.
   */
  async create(
    wanted: Omit<NewToken, 'createdAt' | 'madeBy'>,
    maker: AccessIdentity,
  ): Promise<{ readonly secret: Uint8Array; readonly token: Token }> {
    const { registry, random, inForce } = this.#options;
    await this.requireDatabase();
    this.#forgetExpired();
    const secret = random(TOKEN_BYTES);
    const hash = tokenHash(secret);
    const { uses, expiresAt, group, cell, device = '', compromised = false } = wanted;
    const { name = '', site = '', notes = '' } = wanted;
    const { hash: madeBy } = maker;
    const action: RegistryAction = {
      ...{ action: 'token', subject: hash, uses, expires: expiresAt, group, cell },
      ...(device !== '' && { device }),
      ...(compromised && { compromised }),
      ...(name !== '' && { name }),
      ...(madeBy !== null && { by: fromHex(madeBy) }),
    };
    const { at } = await inForce(maker, async () => {
      const place = await logAction(action, this.#options);
      if (madeBy !== null) this.#made.set(hash, { by: madeBy, expiresAt });
      return place;
    });
    const options: NewToken & Pick<Token, 'madeBy'> = { ...wanted, createdAt: at, madeBy };
    await this.#apply(() => registry.putToken(hash, options));
    const what = { device, compromised, name, site, notes };
    const token = { hash, used: 0, revoked: false, ...options, ...what };
    return { secret, token };
  }

  /**
   * Ends a token.
   *
   * @param prefix - of its hash; as much as names one that is not revoked.
   * @throws {BrokerError} ERR_NOT_FOUND; ERR_REQUEST when it is too short or names several; ERR_LOG_FULL;
   * ERR_REGISTRY_DATABASE: it is ended with the next start.
   */
  async revoke(prefix: string): Promise<void> {
    const { registry } = this.#options;
    const named = (await registry.tokens()).filter(({ hash }) => hash.startsWith(prefix));
    const [token, another] = named.filter(({ revoked }) => !revoked);
    const shown = plainLine(prefix.slice(0, 64));
    if (named.length === 0) {
      throw new BrokerError('ERR_NOT_FOUND', `token ${shown}: there is none`);
    }
    if (prefix.length < MIN_PREFIX) {
      const message = `token ${shown}: expected ${MIN_PREFIX} or more characters of its hash`;
      throw new BrokerError('ERR_REQUEST', message);
    }
    if (another !== undefined) {
      const message = `token ${shown}: expected as much of a hash as names one token, got several`;
      throw new BrokerError('ERR_REQUEST', message);
    }
    if (token === undefined) return;
    const { hash } = token;
    await this.requireDatabase();
    await logAction({ action: 'token-revoke', subject: hash }, this.#options);
    this.#made.delete(hash);
    await this.#apply(() => registry.revokeToken(hash));
  }

  /**
   * Ends the tokens that were made with an access token. That does not wait for the database, which takes it with the next
   * `settle`, and before it gives a use of any (`requireDatabase`).
   *
   * @returns their hashes; without those that have expired.
   * @throws {BrokerError} ERR_LOG_FULL: some are ended.
   */
  async endMadeWith(accessHash: string): Promise<readonly string[]> {
    const { registry } = this.#options;
    this.#forgetExpired();
    const ended = [...this.#made].filter(([, { by }]) => by === accessHash).map(([hash]) => hash);
    for (const hash of ended) {
      await logAction({ action: 'token-revoke', subject: hash }, this.#options);
      this.#made.delete(hash);
      this.#unwritten.push(() => registry.revokeToken(hash));
    }
    return ended;
  }

  /** Applies a `registry` entry that the database may have missed. */
  async catchUp(
    action: RegistryAction | UnknownAction,
    { at }: { readonly at: number },
  ): Promise<void> {
    const { registry } = this.#options;
    switch (action.action) {
      case 'token': {
        const { subject, uses, expires, group, cell, device, compromised, name = '' } = action;
        const what = { device: device ?? '', compromised: compromised ?? false, name };
        const madeBy = action.by === undefined ? null : toHex(action.by);
        const options = { uses, createdAt: at, expiresAt: expires, group, cell, madeBy, ...what };
        await registry.putToken(subject, options);
        if (madeBy !== null) this.#made.set(subject, { by: madeBy, expiresAt: expires });
        return;
      }
      case 'token-revoke':
        this.#made.delete(action.subject);
        await registry.revokeToken(action.subject);
        return;
      case 'enrol':
      case 'rotate': {
        if (action.token === undefined) return;
        const hash = toHex(action.token);
        this.#counted.set(hash, (this.#counted.get(hash) ?? 0) + 1);
        return;
      }
      default:
    }
  }

  /**
   * Takes over what the enrolments that were read say of uses; never fewer than the database knows.
   *
   * @param from - where reading began: at 0 the whole log was read, else what is behind what the database has applied.
   */
  async finishCatchUp(from: number): Promise<void> {
    const { registry } = this.#options;
    for (const [hash, count] of this.#counted) await registry.raiseUses(hash, count, from === 0);
    this.#counted.clear();
  }

  /** @returns whether the database has everything of what the log says. */
  async settle(): Promise<boolean> {
    await this.#writing.run();
    return this.#unwritten.length === 0;
  }

  /**
   * While it is down nothing more is logged that it would have to take, or the two would grow without bound; and what it
   * has yet to take may be the end of a token that somebody presents.
   *
   * @throws {BrokerError} ERR_REGISTRY_DATABASE.
   */
  async requireDatabase(): Promise<void> {
    if (await this.settle()) return;
    throw new BrokerError('ERR_REGISTRY_DATABASE', 'token: the database has yet to take others');
  }

  #forgetExpired(): void {
    const now = this.#options.now();
    for (const [hash, { expiresAt }] of this.#made) if (expiresAt <= now) this.#made.delete(hash);
  }

  async #apply(change: Change): Promise<void> {
    this.#unwritten.push(change);
    await this.#writing.run();
    if (!this.#unwritten.includes(change)) return;
    throw new BrokerError(
      'ERR_REGISTRY_DATABASE',
      'token: in the log, and not yet in the database',
    );
  }

  /** In the order of the log. */
  async #write(): Promise<void> {
    for (let next = this.#unwritten[0]; next !== undefined; next = this.#unwritten[0]) {
      try {
        await next();
      } catch (error) {
        this.#options.onDatabaseError(error);
        return;
      }
      this.#unwritten.shift();
    }
  }
}
