/**
 * The embedded store with a second file beside it that is filled anew and then takes its place
 * (docs/decisions/007-rebuild.md).
 *
 * Readers and writers use the present file until the exchange, which is one rename; for its moment they wait. One rebuild
 * at a time; one that was given up leaves a folder that the next one, or the next start, removes.
 */
import { randomUUID } from 'node:crypto';
import { access, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AnalyticsError } from '../errors.ts';
import type { Precision } from '../line-protocol.ts';
import { DuckdbStore } from '../store/duckdb-store.ts';
import type { LatestFilter, RangeQuery, TimeSeriesStore } from '../store/time-series-store.ts';

/** Writes into the present store are held for so long; who holds them and dies must not stop them for ever. */
const HOLD_MS = 30_000;
const FILE = 'readings.duckdb';
const REBUILDING_MEMORY_MIB = 256;

export interface RebuildableStoreOptions {
  /** The store lies in `store` below it, the second one in `store.rebuilding`. */
  readonly dataDir: string;
  readonly maxSeries?: number | undefined;
}

export class RebuildableStore implements TimeSeriesStore {
  readonly #folder: string;
  readonly #newFolder: string;
  readonly #maxSeries: { readonly maxSeries?: number };
  #store: DuckdbStore;
  #rebuilding: DuckdbStore | undefined;
  /** Of the rebuild that began last. */
  #id = '';
  /** Calls under way in the present store. */
  #active = 0;
  #writing = 0;
  #idle: (() => void)[] = [];
  /** While set, calls wait: of everybody, of writers. */
  #gate: Promise<void> | undefined;
  #hold: { readonly until: Promise<void>; readonly release: () => void } | undefined;

  constructor({ dataDir, maxSeries }: RebuildableStoreOptions) {
    this.#folder = join(dataDir, 'store');
    this.#newFolder = join(dataDir, 'store.rebuilding');
    this.#maxSeries = maxSeries === undefined ? {} : { maxSeries };
    this.#store = this.#make(this.#folder);
  }

  async open(): Promise<void> {
    await rm(this.#newFolder, { recursive: true, force: true });
    await this.#store.open();
  }

  async close(): Promise<void> {
    await this.abort();
    await this.#gate;
    await this.#store.close();
  }

  ping() {
    return this.#use((store) => store.ping());
  }

  async writeLines(body: Uint8Array, options: { readonly precision: Precision }): Promise<void> {
    while (this.#hold !== undefined) await this.#hold.until;
    this.#writing++;
    try {
      await this.#use((store) => store.writeLines(body, options));
    } finally {
      this.#writing--;
      this.#wake();
    }
  }

  devices() {
    return this.#use((store) => store.devices());
  }

  latest(filter: LatestFilter) {
    return this.#use((store) => store.latest(filter));
  }

  range(query: RangeQuery) {
    return this.#use((store) => store.range(query));
  }

  /**
   * Begins with an empty second store; one that was begun before is given up.
   *
   * @returns the profiles that the present store has, and the name of the rebuild. Who says it with the other calls is
   * told when another rebuild has begun meanwhile, rather than writing into that one's store.
   */
  async begin(): Promise<{ readonly id: string; readonly profiles: readonly string[] }> {
    await this.abort();
    const rebuilding = this.#make(this.#newFolder, REBUILDING_MEMORY_MIB);
    await rebuilding.open();
    this.#rebuilding = rebuilding;
    const id = randomUUID();
    this.#id = id;
    return { id, profiles: profilesOf(await this.devices()) };
  }

  /** Writes into the second store. @throws {AnalyticsError} ERR_REBUILD_NONE, and as `writeLines`. */
  async writeRebuilt(
    body: Uint8Array,
    { id, precision }: { readonly id?: string | undefined; readonly precision: Precision },
  ): Promise<void> {
    await this.#begun(id).writeLines(body, { precision });
  }

  /**
   * Holds writes into the present store until `commit`, `abort` or half a minute later; resolves when none is under
   * way. What was acknowledged to anybody is then in the log before its present end.
   */
  async hold(id?: string): Promise<void> {
    this.#begun(id);
    this.#release();
    let end = () => {};
    const until = new Promise<void>((resolve) => {
      end = resolve;
    });
    const timer = setTimeout(() => this.#release(), HOLD_MS);
    timer.unref();
    const release = () => {
      clearTimeout(timer);
      end();
    };
    this.#hold = { until, release };
    await this.#until(() => this.#writing === 0);
  }

  /**
   * Puts the second store in the place of the present one and lets writes go on.
   *
   * @param options.force - also when profiles would be missing.
   * @throws {AnalyticsError} ERR_REBUILD_NONE; ERR_REBUILD_INCOMPLETE when the present store has profiles that the
   * second one lacks, or writes are no longer held. The present store stays.
   */
  async commit({
    id,
    force = false,
  }: {
    readonly id?: string | undefined;
    readonly force?: boolean;
  } = {}): Promise<void> {
    const rebuilding = this.#begun(id);
    if (this.#hold === undefined) {
      throw new AnalyticsError('ERR_REBUILD_INCOMPLETE', 'rebuild: writes are not held any more');
    }
    const made = new Set(profilesOf(await rebuilding.devices()));
    const lacking = profilesOf(await this.devices()).filter((profile) => !made.has(profile));
    if (lacking.length > 0 && !force) {
      const what = `rebuild: expected all profiles of the store, got none of ${lacking.join(', ')}`;
      throw new AnalyticsError('ERR_REBUILD_INCOMPLETE', what);
    }
    this.#rebuilding = undefined;
    let open = () => {};
    this.#gate = new Promise((resolve) => {
      open = resolve;
    });
    try {
      await this.#until(() => this.#active === 0);
      await rebuilding.close();
      await this.#store.close();
      await this.#exchange();
    } finally {
      this.#store = this.#make(this.#folder);
      await this.#store.open().finally(() => {
        this.#gate = undefined;
        open();
        this.#release();
      });
      await rm(this.#newFolder, { recursive: true, force: true });
    }
  }

  /** Gives the second store up, if there is one, and it is not another rebuild's. */
  async abort(id = this.#id): Promise<void> {
    if (id !== this.#id) return;
    this.#release();
    const rebuilding = this.#rebuilding;
    this.#rebuilding = undefined;
    await rebuilding?.close();
    if (rebuilding !== undefined) await rm(this.#newFolder, { recursive: true, force: true });
  }

  /** Both are closed: each is one file, and a log beside either would belong to the wrong one afterwards. */
  async #exchange(): Promise<void> {
    for (const folder of [this.#folder, this.#newFolder]) {
      if (await exists(join(folder, `${FILE}.wal`))) {
        throw new AnalyticsError('ERR_STORE_UNAVAILABLE', `${folder}: its log was not closed`);
      }
    }
    await rename(join(this.#newFolder, FILE), join(this.#folder, FILE));
  }

  async #use<T>(call: (store: DuckdbStore) => Promise<T>): Promise<T> {
    while (this.#gate !== undefined) await this.#gate;
    this.#active++;
    try {
      return await call(this.#store);
    } finally {
      this.#active--;
      this.#wake();
    }
  }

  #begun(id = this.#id): DuckdbStore {
    if (this.#rebuilding !== undefined && id === this.#id) return this.#rebuilding;
    throw new AnalyticsError('ERR_REBUILD_NONE', 'rebuild: expected one that was begun, got none');
  }

  #release(): void {
    const hold = this.#hold;
    this.#hold = undefined;
    hold?.release();
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #wake(): void {
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  #make(dataDir: string, memoryLimitMiB?: number): DuckdbStore {
    const memory = memoryLimitMiB === undefined ? {} : { memoryLimitMiB };
    return new DuckdbStore({ dataDir, ...this.#maxSeries, ...memory });
  }
}

function profilesOf(devices: Awaited<ReturnType<TimeSeriesStore['devices']>>): string[] {
  return [...new Set(devices.flatMap(({ profiles }) => profiles))].sort();
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
