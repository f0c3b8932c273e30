/** The registry's tables, on SQLite and PostgreSQL alike: text, 64-bit integers and blobs only. */

import type { ColumnDefinitionBuilder, ColumnType, Migration } from 'kysely';
import { type Kysely, PostgresAdapter, sql } from './query-builder.ts';

/** Read as number: `database.ts` turns what the drivers give into numbers, and no value here passes 2^53. */
export type Int = ColumnType<number, number, number>;

export interface DeviceTable {
  device_id: string;
  /** Current public key, 32 bytes. */
  public_key: Uint8Array;
  /** did:key of the owner. */
  owner: string;
  name: string;
  group_name: string;
  cell: string;
  /** JSON array of wanted streams. */
  streams: string;
  /** `active` or `suspended`. */
  status: string;
  agent: string;
  enrolled_at: Int;
  credential_issued: Int;
  credential_expires: Int;
  /** Index of the last `registry` entry applied. */
  log_index: Int;
  /** JSON: keys before the current one, former owners, suspension, quarantined boots, commitments. */
  rights: string;
}

export interface TokenTable {
  /** SHA-256 of the token, hex. The token itself is shown once and kept nowhere. */
  hash: string;
  uses: Int;
  used: Int;
  created_at: Int;
  expires_at: Int;
  group_name: string;
  cell: string;
  /** 0 or 1. */
  revoked: Int;
  /** The device whose place the newcomer takes; empty for one of its own. */
  device_id: string;
  /** Empty or `1`. */
  compromised: string;
  /** What the device that comes with it is called; empty: as it says itself. */
  name: string;
  /** Texts about its site and notes, for the device that comes with it; empty: none, or it has come. */
  site_text: string;
  notes: string;
  /** `used` when the log was last noted as applied: enrolments behind that come on top of it. */
  used_before: Int;
  /** Hash of the access token with which it was made; empty: of none that is known. */
  made_by: string;
}

/** Keys that are or were a device's and are not its id; also those that the device itself has forgotten. */
export interface DeviceKeyTable {
  key_id: string;
  device_id: string;
}

/** Bearer tokens of people and programs. */
export interface AccessTable {
  /** SHA-256 of the token, hex. */
  hash: string;
  /** Of whom; nowhere else, so that it can be erased. */
  name: string;
  /** Separated by spaces. */
  scopes: string;
  created_at: Int;
  /** 0: it does not end by itself. */
  expires_at: Int;
  /** 0 or 1. */
  revoked: Int;
  /** Hash of the token with which it was made; empty: of none that is known. */
  made_by: string;
  /** Last use, within a minute; 0: none. */
  used_at: Int;
}

/** Boots refused as those of a clone, of a version before `quarantine` entries; emptied as they are logged. */
export interface QuarantineTable {
  device_id: string;
  boot_counter: Int;
  boot_seed: Int;
  created_at: Int;
}

/** What devices declared in their newest birth; advisory. */
export interface BirthTable {
  device_id: string;
  /** JSON: profile → [{metric, unit}]. */
  profiles: string;
}

/** The last boots of each device with a fresh birth: what is alternating is known after a restart too. */
export interface FreshBirthTable {
  device_id: string;
  /** JSON: [{bootCounter, bootSeed}], older first, at most two. */
  boots: string;
  /** Index of the newest time anchor that it includes. */
  log_index: Int;
}

/** What people wrote about devices; the log has SHA-256(salt ‖ text). docs/spec/registry.md 5.2. */
export interface DeviceTextTable {
  /** That hash, hex. */
  commitment: string;
  device_id: string;
  /** `site` or `notes`. */
  kind: string;
  text: string;
  salt: Uint8Array;
  created_at: Int;
}

export interface SettingTable {
  key: string;
  value: string;
}

export interface RegistrySchema {
  devices: DeviceTable;
  device_keys: DeviceKeyTable;
  tokens: TokenTable;
  access_tokens: AccessTable;
  quarantine: QuarantineTable;
  births: BirthTable;
  fresh_births: FreshBirthTable;
  device_texts: DeviceTextTable;
  settings: SettingTable;
}

/**
 * Applied in the order of their names, once each. SQLite runs them without a transaction around all: what a first start
 * that was killed has left of one must not stop the next.
 */
export const MIGRATIONS: Readonly<Record<string, Migration>> = {
  '001_registry': {
    up: async (db: Kysely<unknown>) => {
      const blob = isPostgres(db) ? sql`bytea` : sql`blob`;
      await db.schema
        .createTable('devices')
        .ifNotExists()
        .addColumn('device_id', 'text', (column) => column.primaryKey())
        .addColumn('public_key', blob, (column) => column.notNull())
        .addColumn('owner', 'text', (column) => column.notNull())
        .addColumn('name', 'text', (column) => column.notNull())
        .addColumn('group_name', 'text', (column) => column.notNull())
        .addColumn('cell', 'text', (column) => column.notNull())
        .addColumn('streams', 'text', (column) => column.notNull())
        .addColumn('status', 'text', (column) => column.notNull())
        .addColumn('agent', 'text', (column) => column.notNull())
        .addColumn('enrolled_at', 'bigint', (column) => column.notNull())
        .addColumn('credential_issued', 'bigint', (column) => column.notNull())
        .addColumn('credential_expires', 'bigint', (column) => column.notNull())
        .addColumn('log_index', 'bigint', (column) => column.notNull())
        .execute();
      await db.schema
        .createTable('tokens')
        .ifNotExists()
        .addColumn('hash', 'text', (column) => column.primaryKey())
        .addColumn('uses', 'bigint', (column) => column.notNull())
        .addColumn('used', 'bigint', (column) => column.notNull())
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .addColumn('expires_at', 'bigint', (column) => column.notNull())
        .addColumn('group_name', 'text', (column) => column.notNull())
        .addColumn('cell', 'text', (column) => column.notNull())
        .addColumn('revoked', 'bigint', (column) => column.notNull())
        .execute();
      await db.schema
        .createTable('quarantine')
        .ifNotExists()
        .addColumn('device_id', 'text', (column) => column.notNull())
        .addColumn('boot_counter', 'bigint', (column) => column.notNull())
        .addColumn('boot_seed', 'bigint', (column) => column.notNull())
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .addPrimaryKeyConstraint('quarantine_pk', ['device_id', 'boot_counter', 'boot_seed'])
        .execute();
      await db.schema
        .createTable('births')
        .ifNotExists()
        .addColumn('device_id', 'text', (column) => column.primaryKey())
        .addColumn('profiles', 'text', (column) => column.notNull())
        .execute();
      await db.schema
        .createTable('settings')
        .ifNotExists()
        .addColumn('key', 'text', (column) => column.primaryKey())
        .addColumn('value', 'text', (column) => column.notNull())
        .execute();
    },
  },
  '002_rights': {
    up: async (db: Kysely<unknown>) => {
      await addColumn(db, 'devices', 'rights');
    },
  },
  '003_standing': {
    up: async (db: Kysely<unknown>) => {
      const blob = isPostgres(db) ? sql`bytea` : sql`blob`;
      await db.schema
        .createTable('fresh_births')
        .ifNotExists()
        .addColumn('device_id', 'text', (column) => column.primaryKey())
        .addColumn('boots', 'text', (column) => column.notNull())
        .addColumn('log_index', 'bigint', (column) => column.notNull())
        .execute();
      await db.schema
        .createTable('device_texts')
        .ifNotExists()
        .addColumn('commitment', 'text', (column) => column.primaryKey())
        .addColumn('device_id', 'text', (column) => column.notNull())
        .addColumn('kind', 'text', (column) => column.notNull())
        .addColumn('text', 'text', (column) => column.notNull())
        .addColumn('salt', blob, (column) => column.notNull())
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .execute();
    },
  },
  '004_keys': {
    up: async (db: Kysely<unknown>) => {
      await addColumn(db, 'tokens', 'device_id');
      await addColumn(db, 'tokens', 'compromised');
      await db.schema
        .createTable('device_keys')
        .ifNotExists()
        .addColumn('key_id', 'text', (column) => column.primaryKey())
        .addColumn('device_id', 'text', (column) => column.notNull())
        .execute();
    },
  },
  '005_access': {
    up: async (db: Kysely<unknown>) => {
      await db.schema
        .createTable('access_tokens')
        .ifNotExists()
        .addColumn('hash', 'text', (column) => column.primaryKey())
        .addColumn('name', 'text', (column) => column.notNull())
        .addColumn('scopes', 'text', (column) => column.notNull())
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .addColumn('expires_at', 'bigint', (column) => column.notNull())
        .addColumn('revoked', 'bigint', (column) => column.notNull())
        .addColumn('used_at', 'bigint', (column) => column.notNull())
        .execute();
    },
  },
  '006_access_makers': {
    up: async (db: Kysely<unknown>) => {
      await addColumn(db, 'access_tokens', 'made_by');
    },
  },
  '007_token_uses': {
    up: async (db: Kysely<unknown>) => {
      const count = (column: ColumnDefinitionBuilder) => column.notNull().defaultTo(0);
      await addColumn(db, 'tokens', 'used_before', { type: 'bigint', define: count });
      await sql`update tokens set used_before = used`.execute(db);
    },
  },
  '008_token_details': {
    up: async (db: Kysely<unknown>) => {
      for (const column of ['name', 'site_text', 'notes']) await addColumn(db, 'tokens', column);
    },
  },
  '009_token_makers': {
    up: async (db: Kysely<unknown>) => {
      await addColumn(db, 'tokens', 'made_by');
    },
  },
};

interface Column {
  readonly type: 'text' | 'bigint';
  readonly define: (column: ColumnDefinitionBuilder) => ColumnDefinitionBuilder;
}

/** Empty in the rows that are there. */
const TEXT: Column = { type: 'text', define: (column) => column.notNull().defaultTo('') };

/** Adds a column, unless a killed start has. */
async function addColumn(
  db: Kysely<unknown>,
  table: string,
  name: string,
  { type, define }: Column = TEXT,
): Promise<void> {
  // SQLite has no "if not exists" for columns. PostgreSQL lists the tables of all schemas, and others' may be named so.
  if (!isPostgres(db) && (await hasColumn(db, table, name))) return;
  await db.schema
    .alterTable(table)
    .addColumn(name, type, (column) =>
      isPostgres(db) ? define(column).ifNotExists() : define(column),
    )
    .execute();
}

async function hasColumn(db: Kysely<unknown>, table: string, column: string): Promise<boolean> {
  const tables = await db.introspection.getTables();
  const known = tables.find(({ name }) => name === table)?.columns ?? [];
  return known.some(({ name }) => name === column);
}

function isPostgres(db: Kysely<unknown>): boolean {
  return db.getExecutor().adapter instanceof PostgresAdapter;
}
