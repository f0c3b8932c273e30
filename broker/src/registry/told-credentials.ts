/** Ends of credentials that operators were told of, so that a restart tells of none again. A row each in `settings`. */

import type { RegistryDatabase } from './database.ts';

const PREFIX = 'credential-expiring/';

export class ToldCredentials {
  readonly #db: RegistryDatabase;

  constructor(db: RegistryDatabase) {
    this.#db = db;
  }

  async load(): Promise<readonly (readonly [deviceId: string, expires: number])[]> {
    const rows = await this.#db
      .selectFrom('settings')
      .selectAll()
      .where('key', 'like', `${PREFIX}%`)
      .execute();
    return rows.map(({ key, value }) => [key.slice(PREFIX.length), Number(value)]);
  }

  async put(deviceId: string, expires: number): Promise<void> {
    const value = String(expires);
    await this.#db
      .insertInto('settings')
      .values({ key: `${PREFIX}${deviceId}`, value })
      .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
      .execute();
  }

  async remove(deviceId: string): Promise<void> {
    await this.#db.deleteFrom('settings').where('key', '=', `${PREFIX}${deviceId}`).execute();
  }
}
