/** The outages that were told, so that a restart of the broker tells none of them again. A row each in `settings`. */

import type { Outage } from '../observe/offline-watch.ts';
import type { RegistryDatabase } from './database.ts';

const PREFIX = 'outage/';

export class OutageStore {
  readonly #db: RegistryDatabase;

  constructor(db: RegistryDatabase) {
    this.#db = db;
  }

  async load(): Promise<readonly (readonly [deviceId: string, outage: Outage])[]> {
    const rows = await this.#db
      .selectFrom('settings')
      .selectAll()
      .where('key', 'like', `${PREFIX}%`)
      .execute();
    return rows.map(({ key, value }) => [key.slice(PREFIX.length), { since: Number(value) }]);
  }

  async put(deviceId: string, { since }: Outage): Promise<void> {
    const row = { key: `${PREFIX}${deviceId}`, value: String(since) };
    await this.#db
      .insertInto('settings')
      .values(row)
      .onConflict((conflict) => conflict.column('key').doUpdateSet({ value: row.value }))
      .execute();
  }

  async remove(deviceId: string): Promise<void> {
    await this.#db.deleteFrom('settings').where('key', '=', `${PREFIX}${deviceId}`).execute();
  }
}
