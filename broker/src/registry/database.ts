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
import pg from 'pg';
import { BrokerError } from '../errors.ts';
import {
  Kysely,
  Migrator,
  PostgresDialect,
  SqliteAdapter,
  SqliteDialect,
  sql,
} from './query-builder.ts';
import { MIGRATIONS, type RegistrySchema } from './schema.ts';

export type RegistryDatabase = Kysely<RegistrySchema>;

/**
 * Opens the database and brings its tables up to date.
 *
 * @param options.url - `postgres://…`; empty for the SQLite file.
 * @throws {BrokerError} ERR_DATA_NEWER when a newer version wrote it; the driver's error when it cannot be reached.
 */
export async function openRegistryDatabase(options: {
  readonly url: string;
  readonly file: string;
}): Promise<RegistryDatabase> {
  const dialect = options.url === '' ? sqlite(options.file) : postgres(options.url);
  const db = new Kysely<RegistrySchema>({ dialect, plugins: [new SameValues()] });
  try {
    await migrate(db);
  } catch (error) {
    await db.destroy();
    throw error;
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

function postgres(url: string): PostgresDialect {
  return new PostgresDialect({ pool: new pg.Pool({ connectionString: url, max: 4 }) });
}

async function migrate(db: RegistryDatabase): Promise<void> {
  const migrator = new Migrator({
    db,
    provider: { getMigrations: async () => ({ ...MIGRATIONS }) },
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
