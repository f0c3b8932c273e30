/** Access tokens in the registry's database: what the log says of them, and the names of people, which it does not. */

import type { Selectable } from 'kysely';
import { isScope, type Scope } from '../http/scopes.ts';
import { overwriteDeleted, type RegistryDatabase } from './database.ts';
import type { AccessTable } from './schema.ts';

/** A named token of a person or program. Times are Unix ms. */
export interface AccessToken {
  /** SHA-256 of its text, hex: its name in lists and in the log. */
  readonly hash: string;
  /** Of whom it is; empty when the database that knew it is gone. */
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly createdAt: number;
  /** Null: it does not end by itself. */
  readonly expiresAt: number | null;
  /** Hash of the token with which it was made, hex; null: of none that is known. */
  readonly madeBy: string | null;
  readonly revoked: boolean;
  /** Null: never, as far as is known. Within a minute. */
  readonly lastUsedAt: number | null;
}

export async function readAccessTokens(db: RegistryDatabase): Promise<readonly AccessToken[]> {
  const rows = await db.selectFrom('access_tokens').selectAll().orderBy('created_at').execute();
  return rows.map(tokenOf);
}

/** Writes tokens as they are now. */
export async function putAccessTokens(
  db: RegistryDatabase,
  tokens: readonly AccessToken[],
): Promise<void> {
  await db.transaction().execute(async (tx) => {
    for (const token of tokens) {
      const row = rowOf(token);
      const { hash: _, ...rest } = row;
      await tx
        .insertInto('access_tokens')
        .values(row)
        .onConflict((conflict) => conflict.column('hash').doUpdateSet(rest))
        .execute();
    }
  });
}

/** Leaves nothing of their names. */
export async function removeAccessTokens(
  db: RegistryDatabase,
  hashes: readonly string[],
): Promise<void> {
  await db.deleteFrom('access_tokens').where('hash', 'in', hashes).execute();
  await overwriteDeleted(db);
}

/** Of no end, and of no use: 0, for the columns hold numbers only. */
function rowOf(token: AccessToken): Selectable<AccessTable> {
  return {
    hash: token.hash,
    name: token.name,
    scopes: token.scopes.join(' '),
    created_at: token.createdAt,
    expires_at: token.expiresAt ?? 0,
    made_by: token.madeBy ?? '',
    revoked: token.revoked ? 1 : 0,
    used_at: token.lastUsedAt ?? 0,
  };
}

function tokenOf(row: Selectable<AccessTable>): AccessToken {
  return {
    hash: row.hash,
    name: row.name,
    scopes: row.scopes.split(' ').filter(isScope),
    createdAt: row.created_at,
    expiresAt: row.expires_at || null,
    madeBy: row.made_by || null,
    revoked: row.revoked !== 0,
    lastUsedAt: row.used_at || null,
  };
}
