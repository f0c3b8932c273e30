/**
 * What the registry uses of Kysely, loaded as CommonJS: its three hundred ES modules would cost every start from
 * TypeScript a second of a core, as much as all the rest of the broker.
 */

import { createRequire } from 'node:module';
import type * as Kyselys from 'kysely';

const kysely = createRequire(import.meta.url)('kysely') as typeof Kyselys;

export type Kysely<Schema> = Kyselys.Kysely<Schema>;
export type SqliteDialect = Kyselys.SqliteDialect;
export type PostgresDialect = Kyselys.PostgresDialect;

export const { Kysely, Migrator, PostgresAdapter, PostgresDialect } = kysely;
export const { SqliteAdapter, SqliteDialect, sql } = kysely;
