/**
 * What operators were told of devices, so that a restart tells none of it again: for each device one moment, which says
 * of which outage, or of which credential, was told. A row each in `settings`, under `<kind>/<device id>`.
 */

import type { RegistryDatabase } from './database.ts';

/** Moments by device, Unix ms. */
export interface ToldMoments {
  readonly load: () => Promise<readonly (readonly [deviceId: string, ms: number])[]>;
  readonly put: (deviceId: string, ms: number) => Promise<void>;
  readonly remove: (deviceId: string) => Promise<void>;
}

export class ToldStore implements ToldMoments {
  readonly #db: RegistryDatabase;
  readonly #prefix: string;

  constructor(db: RegistryDatabase, kind: 'outage' | 'credential-expiring') {
    this.#db = db;
    this.#prefix = `${kind}/`;
  }

  async load(): Promise<readonly (readonly [deviceId: string, ms: number])[]> {
    const rows = await this.#db
      .selectFrom('settings')
      .selectAll()
      .where('key', 'like', `${this.#prefix}%`)
      .execute();
    return rows.map(({ key, value }) => [key.slice(this.#prefix.length), Number(value)] as const);
  }

  async put(deviceId: string, ms: number): Promise<void> {
    const value = String(ms);
    await this.#db
      .insertInto('settings')
      .values({ key: `${this.#prefix}${deviceId}`, value })
      .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
      .execute();
  }

  async remove(deviceId: string): Promise<void> {
    await this.#db.deleteFrom('settings').where('key', '=', `${this.#prefix}${deviceId}`).execute();
  }
}
