/**
 * Opens the registry's database: SQLite through libsql, or PostgreSQL. One place makes their values alike:
 * blobs are Uint8Array and integers are numbers on both.
 */

import type {
  KyselyPlugin,
  PluginTransformResultArgs,
  QueryResult,
  RootOperationNode,
  UnknownRow,
} from 'kysely';
import LibsqlDatabase from 'libsql';
import { BrokerError } from '../errors.ts';
import { POSTGRES_LIMITS, type PostgresLimits, PostgresPool } from './postgres-pool.ts';
import {
  Kysely,
  Migrator,
  PostgresAdapter,
  PostgresDialect,
  SqliteAdapter,
  SqliteDialect,
  sql,
} from './query-builder.ts';
import { MIGRATIONS, type RegistrySchema } from './schema.ts';

export type RegistryDatabase = Kysely<RegistrySchema>;

export interface RegistryDatabaseOptions {
  /** `postgres://…`; empty for the SQLite file. */
  readonly url: string;
  readonly file: string;
  /** A connection to PostgreSQL broke; the next query makes another. */
  readonly onLost?: (error: Error) => void;
  /** Of PostgreSQL; replaced in tests. */
  readonly limits?: PostgresLimits;
}

/**
 * Opens the database and brings its tables up to date.
 *
 * @throws {BrokerError} ERR_DATA_NEWER when a newer version wrote it, ERR_REGISTRY_DATABASE when PostgreSQL does not
 * let us; SQLite's own error otherwise.
 */
export async function openRegistryDatabase(
  options: RegistryDatabaseOptions,
): Promise<RegistryDatabase> {
  const dialect = options.url === '' ? sqlite(options.file) : postgres(options);
  const db = new Kysely<RegistrySchema>({ dialect, plugins: [new SameValues()] });
  try {
    await migrate(db);
  } catch (error) {
    await db.destroy();
    if (options.url === '' || error instanceof BrokerError) throw error;
    const message = `registry: expected a PostgreSQL database that opens, got ${reasonOf(error)}`;
    throw new BrokerError('ERR_REGISTRY_DATABASE', message, { cause: error });
  }
  return db;
}

function sqlite(file: string): SqliteDialect {
  const database = new LibsqlDatabase(file, { timeout: 5000 });
  database.exec('pragma journal_mode = wal');
  database.exec('pragma synchronous = full');
  // What is deleted is overwritten: texts about people may be in it.
  database.exec('pragma secure_delete = on');
  return new SqliteDialect({ database: database as never });
}

function postgres({
  url,
  onLost = () => {},
  limits = POSTGRES_LIMITS,
}: RegistryDatabaseOptions): PostgresDialect {
  return new PostgresDialect({ pool: new PostgresPool({ url, limits, onLost }) });
}

/** What the driver says; of a host with several addresses that is only a code. */
function reasonOf(error: unknown): string {
  const { message, code } = error as { readonly message?: string; readonly code?: string };
  return message || code || String(error);
}

async function migrate(db: RegistryDatabase): Promise<void> {
  const schema = await schemaOfMigrations(db);
  const migrator = new Migrator({
    db,
    provider: { getMigrations: async () => ({ ...MIGRATIONS }) },
    ...(schema !== null && { migrationTableSchema: schema }),
  });
  const { error } = await migrator.migrateToLatest();
  if (error === undefined) return;
  if (String(error).includes('previously executed migration')) {
    throw new BrokerError('ERR_DATA_NEWER', 'registry: migrated by a newer version', {
      cause: error,
    });
  }
  throw error;
}

/**
 * On PostgreSQL the schema in which the tables are, or will be: without it the migrator takes another program's tables of
 * the same names in another schema for its own.
 */
async function schemaOfMigrations(db: RegistryDatabase): Promise<string | null> {
  if (!(db.getExecutor().adapter instanceof PostgresAdapter)) return null;
  const { rows } = await sql<{ readonly schema: string | null }>`
    select coalesce(
      (select nspname from pg_namespace where oid =
        (select relnamespace from pg_class where oid = to_regclass('kysely_migration'))),
      current_schema()
    ) as schema`.execute(db);
  return rows[0]?.schema ?? null;
}

/**
 * What a query gives.
 *
 * @throws {BrokerError} ERR_REGISTRY_DATABASE when it fails: what somebody asked for waits until the database is there.
 */
export async function answered<T>(query: Promise<T>): Promise<T> {
  try {
    return await query;
  } catch (cause) {
    const message = 'registry: the database does not answer';
    throw new BrokerError('ERR_REGISTRY_DATABASE', message, { cause });
  }
}

/** Has SQLite write over what was deleted now, and not when its write-ahead log is full. Nothing on PostgreSQL. */
export async function overwriteDeleted(db: RegistryDatabase): Promise<void> {
  if (db.getExecutor().adapter instanceof SqliteAdapter) {
    await sql`pragma wal_checkpoint(truncate)`.execute(db);
  }
}

/** libsql gives blobs as ArrayBuffer and a `_metadata` beside single rows; pg gives Buffer, and bigint as text. */
class SameValues implements KyselyPlugin {
  transformQuery({ node }: { readonly node: RootOperationNode }): RootOperationNode {
    return node;
  }

  async transformResult({ result }: PluginTransformResultArgs): Promise<QueryResult<UnknownRow>> {
    return { ...result, rows: result.rows.map(sameRow) };
  }
}

/** Columns that hold 64-bit integers. */
const INTEGERS = new Set([
  'uses',
  'used',
  'created_at',
  'expires_at',
  'revoked',
  'used_at',
  'enrolled_at',
  'credential_issued',
  'credential_expires',
  'log_index',
  'boot_counter',
  'boot_seed',
  'count',
]);

function sameRow(row: UnknownRow): UnknownRow {
  const same: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(row)) {
    if (key === '_metadata') continue;
    if (value instanceof ArrayBuffer) same[key] = new Uint8Array(value);
    else if (Buffer.isBuffer(value)) same[key] = Uint8Array.from(value);
    else if (INTEGERS.has(key) && value !== null) same[key] = Number(value);
    else same[key] = value;
  }
  return same;
}
