/**
 * The registry: devices and enrolment tokens.
 *
 * The evidence log is the truth about devices: an action is appended there first, and applied here when it is durable.
 * `appliedThrough` says up to where all of it is here, of devices and of tokens; on start the broker applies what is
 * behind that, and a device's `logIndex` says which of it is there already. Uses of tokens are only here: one is taken
 * before the enrolment is logged and given back when the log refuses it, so a crash in between costs one use and never
 * gives one.
 */

import { createHash } from 'node:crypto';
import { toHex } from '@fieldproof/protocol/bytes';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import type { RegisteredDevice } from '@fieldproof/protocol/registry-device';
import type { Selectable } from 'kysely';
import { BrokerError } from '../errors.ts';
import type { BootName, FreshBoots } from '../gate/clones.ts';
import { answered, overwriteDeleted, type RegistryDatabase } from './database.ts';
import { decodeRights, encodeRights } from './rights-column.ts';
import type { DeviceKeyTable, DeviceTable, TokenTable } from './schema.ts';

/** A device as `registry` entries have made it. */
export type Device = RegisteredDevice;

/** The last boots of a device with a fresh birth, and the index of the last time anchor that says so. */
export interface FreshBirths {
  readonly deviceId: string;
  readonly boots: FreshBoots;
  readonly index: number;
}

export interface Token {
  /** SHA-256 of the token, hex: its name in lists. */
  readonly hash: string;
  readonly uses: number;
  readonly used: number;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly group: string;
  readonly cell: string;
  readonly revoked: boolean;
  /** The id of the device whose place the newcomer takes; empty for one of its own. */
  readonly device: string;
  /** Whether nothing of the replaced key counts from then on. */
  readonly compromised: boolean;
  /** What the device that comes with it is called; empty: as it says itself. */
  readonly name: string;
  /** Texts about its site and notes, until it has come. */
  readonly site: string;
  readonly notes: string;
  /** Hash of the access token with which it was made, hex; null: of none that is known. */
  readonly madeBy: string | null;
}

export type NewToken = Pick<Token, 'uses' | 'createdAt' | 'expiresAt' | 'group' | 'cell'> &
  Partial<Pick<Token, 'device' | 'compromised' | 'name' | 'site' | 'notes' | 'madeBy'>>;

const APPLIED = 'applied_through';
const NETWORK = 'network';

export class Registry {
  private readonly db: RegistryDatabase;

  constructor(db: RegistryDatabase) {
    this.db = db;
  }

  async close(): Promise<void> {
    await this.db.destroy();
  }

  async devices(): Promise<readonly Device[]> {
    const rows = await this.db
      .selectFrom('devices')
      .selectAll()
      .orderBy('enrolled_at')
      .orderBy('device_id')
      .execute();
    return rows.map(deviceOf);
  }

  async device(deviceId: string): Promise<Device | null> {
    const row = await this.db
      .selectFrom('devices')
      .selectAll()
      .where('device_id', '=', deviceId)
      .executeTakeFirst();
    return row ? deviceOf(row) : null;
  }

  /** Ids of keys that are or were a device's and are not its id. */
  async keys(): Promise<readonly { readonly keyId: string; readonly deviceId: string }[]> {
    const rows = await this.db.selectFrom('device_keys').selectAll().execute();
    return rows.map((row) => ({ keyId: row.key_id, deviceId: row.device_id }));
  }

  /**
   * Writes devices as `registry` entries left them, and fresh births, in one transaction. How far the log is applied is
   * not its to say: entries about tokens in between may be missing still.
   *
   * @param keys - devices by the ids of keys that were theirs, besides those that the devices name.
   */
  async apply(
    devices: readonly Device[],
    births: readonly FreshBirths[] = [],
    keys: ReadonlyMap<string, string> = new Map(),
  ): Promise<void> {
    if (devices.length === 0 && births.length === 0) return;
    await this.db.transaction().execute(async (tx) => {
      for (const device of devices) {
        const row = rowOf(device);
        const { device_id: _, ...rest } = row;
        await tx
          .insertInto('devices')
          .values(row)
          .onConflict((conflict) => conflict.column('device_id').doUpdateSet(rest))
          .execute();
      }
      const keyRows = [
        ...devices.flatMap(keyRowsOf),
        ...[...keys].map(([key_id, device_id]) => ({ key_id, device_id })),
      ];
      for (const row of keyRows) {
        await tx
          .insertInto('device_keys')
          .values(row)
          .onConflict((conflict) => conflict.doNothing())
          .execute();
      }
      for (const { deviceId, boots, index } of births) {
        const row = { boots: JSON.stringify(boots), log_index: index };
        await tx
          .insertInto('fresh_births')
          .values({ device_id: deviceId, ...row })
          .onConflict((conflict) => conflict.column('device_id').doUpdateSet(row))
          .execute();
      }
    });
  }

  /**
   * Forgets devices and their keys: they are to come from the log, read from its beginning, by a later start if this
   * one fails.
   */
  async forgetDevices(): Promise<void> {
    await this.db.transaction().execute(async (tx) => {
      await tx.deleteFrom('settings').where('key', '=', APPLIED).execute();
      await tx.deleteFrom('devices').execute();
      await tx.deleteFrom('device_keys').execute();
    });
  }

  async freshBirths(): Promise<readonly FreshBirths[]> {
    const rows = await this.db.selectFrom('fresh_births').selectAll().execute();
    return rows.map((row) => ({
      deviceId: row.device_id,
      boots: JSON.parse(row.boots) as FreshBoots,
      index: row.log_index,
    }));
  }

  async forgetFreshBirths(): Promise<void> {
    await this.db.deleteFrom('fresh_births').execute();
  }

  /** Quarantines that a version before `quarantine` entries has left. */
  async unloggedQuarantines(): Promise<readonly (BootName & { readonly deviceId: string })[]> {
    const rows = await this.db.selectFrom('quarantine').selectAll().execute();
    return rows.map((row) => ({
      deviceId: row.device_id,
      bootCounter: row.boot_counter,
      bootSeed: row.boot_seed,
    }));
  }

  async forgetUnloggedQuarantine(deviceId: string, boot: BootName): Promise<void> {
    await this.db
      .deleteFrom('quarantine')
      .where('device_id', '=', deviceId)
      .where('boot_counter', '=', boot.bootCounter)
      .where('boot_seed', '=', boot.bootSeed)
      .execute();
  }

  /** Keeps the profiles of a device's newest birth, as JSON. */
  async storeBirth(deviceId: string, profiles: string): Promise<void> {
    await this.db
      .insertInto('births')
      .values({ device_id: deviceId, profiles })
      .onConflict((conflict) => conflict.column('device_id').doUpdateSet({ profiles }))
      .execute();
  }

  async births(): Promise<readonly { readonly deviceId: string; readonly profiles: string }[]> {
    const rows = await this.db.selectFrom('births').selectAll().execute();
    return rows.map((row) => ({ deviceId: row.device_id, profiles: row.profiles }));
  }

  /** Index through which `registry` entries of the log are applied, or −1. */
  async appliedThrough(): Promise<number> {
    const value = await this.setting(APPLIED);
    return value === null ? -1 : Number(value);
  }

  /** With the uses of tokens by then, so that a copy of this moment can tell which of the log's are behind it. */
  async markApplied(index: number): Promise<void> {
    await this.db.transaction().execute(async (tx) => {
      await tx
        .updateTable('tokens')
        .set((eb) => ({ used_before: eb.ref('used') }))
        .whereRef('used_before', '!=', 'used')
        .execute();
      const value = String(index);
      await tx
        .insertInto('settings')
        .values({ key: APPLIED, value })
        .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
        .execute();
    });
  }

  /**
   * Takes the database for a network: what another one's log has made of it would be thrown away.
   *
   * @throws {BrokerError} ERR_CONFIG when it is of another one.
   */
  async claim(network: string): Promise<void> {
    const owner = await this.setting(NETWORK);
    if (owner === null) await this.setSetting(NETWORK, network);
    if (owner === null || owner === network) return;
    throw new BrokerError(
      'ERR_CONFIG',
      `registry database: expected that of network ${network} or an empty one, got that of ${owner}`,
    );
  }

  async setting(key: string): Promise<string | null> {
    const row = await this.db
      .selectFrom('settings')
      .select('value')
      .where('key', '=', key)
      .executeTakeFirst();
    return row?.value ?? null;
  }

  async setSetting(key: string, value: string): Promise<void> {
    await this.db
      .insertInto('settings')
      .values({ key, value })
      .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
      .execute();
  }

  /** Adds an enrolment token by its hash, unless it is there. */
  async putToken(hash: string, options: NewToken): Promise<void> {
    const row = {
      hash,
      uses: options.uses,
      used: 0,
      used_before: 0,
      created_at: options.createdAt,
      expires_at: options.expiresAt,
      group_name: options.group,
      cell: options.cell,
      revoked: 0,
      device_id: options.device ?? '',
      compromised: options.compromised ? '1' : '',
      name: options.name ?? '',
      site_text: options.site ?? '',
      notes: options.notes ?? '',
      made_by: options.madeBy ?? '',
    };
    await this.db
      .insertInto('tokens')
      .values(row)
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  }

  /**
   * Notes that the log behind what is applied has so many enrolments with a token. A use is taken before its enrolment is
   * logged, so those up to there are among `used_before`; a database that is no older copy knows of the others as well.
   *
   * @param all - that is the whole log, and `used_before` is of another one.
   */
  async raiseUses(hash: string, enrolments: number, all: boolean): Promise<void> {
    await this.db
      .updateTable('tokens')
      .set((eb) => ({
        used: all ? eb.lit(enrolments) : eb('used_before', '+', enrolments),
      }))
      .where('hash', '=', hash)
      .where((eb) => eb('used', '<', all ? eb.lit(enrolments) : eb('used_before', '+', enrolments)))
      .execute();
  }

  /** Erases the texts of a token: the device has them, or will not come. */
  async eraseTokenTexts(hash: string): Promise<void> {
    const { numUpdatedRows } = await this.db
      .updateTable('tokens')
      .set({ site_text: '', notes: '' })
      .where('hash', '=', hash)
      .where((eb) => eb.or([eb('site_text', '!=', ''), eb('notes', '!=', '')]))
      .executeTakeFirst();
    if (Number(numUpdatedRows) > 0) await overwriteDeleted(this.db);
  }

  /** @throws {BrokerError} ERR_REGISTRY_DATABASE. */
  async tokens(): Promise<readonly Token[]> {
    const query = this.db.selectFrom('tokens').selectAll().orderBy('created_at');
    const rows = await answered(query.execute());
    return rows.map(tokenOf);
  }

  /** With its texts. @returns false when there is no such token. */
  async revokeToken(hash: string): Promise<boolean> {
    const result = await this.db
      .updateTable('tokens')
      .set({ revoked: 1 })
      .where('hash', '=', hash)
      .executeTakeFirst();
    await this.eraseTokenTexts(hash);
    return Number(result.numUpdatedRows) > 0;
  }

  /**
   * What a token is for; null when there is none. It may be used up, revoked or expired.
   *
   * @throws {BrokerError} ERR_REGISTRY_DATABASE.
   */
  async token(token: Uint8Array): Promise<Token | null> {
    const query = this.db.selectFrom('tokens').selectAll().where('hash', '=', tokenHash(token));
    const row = await answered(query.executeTakeFirst());
    return row ? tokenOf(row) : null;
  }

  /**
   * Takes one use of a token, atomically.
   *
   * @throws {BrokerError} ERR_TOKEN_INVALID, ERR_REGISTRY_DATABASE.
   */
  async useToken(token: Uint8Array, now: number): Promise<Token> {
    const row = await answered(this.tryToken(tokenHash(token), now));
    if (row) return tokenOf(row);
    throw new BrokerError('ERR_TOKEN_INVALID', 'token: unknown, used up, revoked or expired');
  }

  /**
   * Gives a use back whose enrolment is certainly not in the log.
   *
   * @throws {BrokerError} ERR_REGISTRY_DATABASE: it is lost.
   */
  async giveBack(hash: string): Promise<void> {
    const query = this.db
      .updateTable('tokens')
      .set((eb) => ({
        used: eb('used', '-', 1),
        // When that was noted the use may have been on its way: it is never more than `used`.
        used_before: eb
          .case()
          .when('used_before', '<', eb.ref('used'))
          .then(eb.ref('used_before'))
          .else(eb('used', '-', 1))
          .end(),
      }))
      .where('hash', '=', hash)
      .where('used', '>', 0);
    await answered(query.execute());
  }

  private async tryToken(hash: string, now: number) {
    const result = await this.db
      .updateTable('tokens')
      .set((eb) => ({ used: eb('used', '+', 1) }))
      .where('hash', '=', hash)
      .where('revoked', '=', 0)
      .where('expires_at', '>', now)
      .whereRef('used', '<', 'uses')
      .executeTakeFirst();
    return Number(result.numUpdatedRows) > 0
      ? this.db.selectFrom('tokens').selectAll().where('hash', '=', hash).executeTakeFirst()
      : undefined;
  }
}

/** Ids of the keys of a device that are known of it, without the first, which is its own id. */
export function laterKeyIds({ deviceId, publicKey, retired }: Device): readonly string[] {
  if (retired.length === 0) return [];
  return [publicKey, ...retired.map((key) => key.publicKey)]
    .map(deviceIdFromPublicKey)
    .filter((keyId) => keyId !== deviceId);
}

/** SHA-256 of a token, hex. */
export function tokenHash(token: Uint8Array): string {
  return toHex(createHash('sha256').update(token).digest());
}

function deviceOf(row: Selectable<DeviceTable>): Device {
  return {
    deviceId: row.device_id,
    publicKey: row.public_key,
    owner: row.owner,
    name: row.name,
    group: row.group_name,
    cell: row.cell,
    streams: JSON.parse(row.streams) as Device['streams'],
    status: row.status as Device['status'],
    ...decodeRights(row.rights),
    agent: row.agent,
    enrolledAt: row.enrolled_at,
    credentialIssued: row.credential_issued,
    credentialExpires: row.credential_expires,
    logIndex: row.log_index,
  };
}

function rowOf(device: Device): Selectable<DeviceTable> {
  return {
    device_id: device.deviceId,
    public_key: Buffer.from(device.publicKey),
    owner: device.owner,
    name: device.name,
    group_name: device.group,
    cell: device.cell,
    streams: JSON.stringify(device.streams),
    status: device.status,
    agent: device.agent,
    enrolled_at: device.enrolledAt,
    credential_issued: device.credentialIssued,
    credential_expires: device.credentialExpires,
    log_index: device.logIndex,
    rights: encodeRights(device),
  };
}

function keyRowsOf(device: Device): Selectable<DeviceKeyTable>[] {
  return laterKeyIds(device).map((key_id) => ({ key_id, device_id: device.deviceId }));
}

function tokenOf(row: Selectable<TokenTable>): Token {
  return {
    hash: row.hash,
    uses: row.uses,
    used: row.used,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    group: row.group_name,
    cell: row.cell,
    revoked: row.revoked !== 0,
    device: row.device_id,
    compromised: row.compromised !== '',
    name: row.name,
    site: row.site_text,
    notes: row.notes,
    madeBy: row.made_by || null,
  };
}
