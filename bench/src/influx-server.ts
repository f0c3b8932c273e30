/** An InfluxDB 1.x of the benchmark's own, with the settings it comes with: folder, ports and telemetry aside. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Child, isListening, startProgram } from './child.ts';
import { freePorts } from './free-ports.ts';
import { type Own, temporaryFolder } from './resources.ts';

export interface InfluxServer {
  readonly child: Child;
  readonly url: string;
  createDatabase(name: string): Promise<void>;
  dropDatabase(name: string): Promise<void>;
  /** Values stored in a measurement, over all its fields or in one of them. */
  count(database: string, measurement: string, field?: string): Promise<number>;
}

interface Answer {
  readonly results?: readonly {
    readonly error?: string;
    readonly series?: readonly { readonly values: readonly (readonly unknown[])[] }[];
  }[];
}

export async function startInflux(own: Own, program: string): Promise<InfluxServer> {
  const folder = temporaryFolder(own);
  const [rpc, http] = await freePorts(2);
  const config = join(folder, 'influxdb.conf');
  writeFileSync(
    config,
    `reporting-disabled = true
bind-address = "127.0.0.1:${rpc}"
[meta]
dir = "${folder}/meta"
[data]
dir = "${folder}/data"
wal-dir = "${folder}/wal"
query-log-enabled = false
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:${http}"
log-enabled = false
`,
  );
  const args = ['run', '-config', config];
  const child = await startProgram({ program, args, isUp: () => isListening(http!) });
  own(() => child.stop());
  const url = `http://127.0.0.1:${http}`;
  const query = async (database: string, q: string): Promise<number[]> => {
    const target = `${url}/query?db=${encodeURIComponent(database)}`;
    const answer = await fetch(target, { method: 'POST', body: new URLSearchParams({ q }) });
    const [result] = ((await answer.json()) as Answer).results ?? [];
    if (result?.error !== undefined) throw new Error(`influxd: ${result.error}`);
    return (result?.series?.[0]?.values[0] ?? []).map(Number);
  };
  return {
    child,
    url,
    createDatabase: async (name) => void (await query('', `CREATE DATABASE "${name}"`)),
    dropDatabase: async (name) => void (await query('', `DROP DATABASE "${name}"`)),
    count: async (database, measurement, field) => {
      const what = field === undefined ? '*' : `"${field}"`;
      const [, ...counts] = await query(database, `SELECT count(${what}) FROM "${measurement}"`);
      return counts.reduce((sum, count) => sum + count, 0);
    },
  };
}
