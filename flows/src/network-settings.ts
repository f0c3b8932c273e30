/** What a network node comes to, with what it leaves empty taken from the installation. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LineSinkOptions } from '@fieldproof/analytics/projection/line-sink';
import { influxAddress } from '@fieldproof/analytics/store/influx-address';
import { FlowsError } from './errors.ts';
import { hub } from './hub.ts';

/** The fields of the network node, empty where nothing was filled in. */
export interface NetworkFields {
  readonly brokerUrl: string;
  readonly tailTokenFile: string;
  readonly storeUrl: string;
  readonly storeTokenFile: string;
  readonly influxUrl: string;
  readonly influxDatabase: string;
}

export interface NetworkCredentials {
  readonly tailToken?: string;
  readonly storeToken?: string;
}

/** Where the evidence is, and the token for it. */
export interface TailSettings {
  readonly url: string;
  readonly token: () => Promise<string>;
  /** Changes when the connection has to be made anew. */
  readonly key: string;
}

/** @throws {FlowsError} ERR_NETWORK_INCOMPLETE. */
export function tailSettings(fields: NetworkFields, credentials: NetworkCredentials): TailSettings {
  const { installation } = hub();
  const url = fields.brokerUrl || installation.brokerUrl;
  const file = fields.tailTokenFile || installation.tailTokenFile;
  if (!url) throw incomplete('broker address');
  const { tailToken } = credentials;
  if (!file && !tailToken) throw incomplete('tail token');
  return {
    url,
    token: async () => tailToken || (await readFile(file!, 'utf8')),
    key: JSON.stringify([url, file ?? '', tailToken ?? '']),
  };
}

/**
 * InfluxDB when one is given, else the control process.
 *
 * @throws {FlowsError} ERR_NETWORK_INCOMPLETE.
 */
export function storeSettings(
  fields: NetworkFields,
  credentials: NetworkCredentials,
): LineSinkOptions {
  const { installation } = hub();
  const influxUrl = fields.influxUrl || (fields.storeUrl ? '' : installation.influxUrl);
  if (influxUrl) {
    const database = fields.influxDatabase;
    try {
      return influxAddress(influxUrl, { database, fallback: installation.influxDatabase ?? '' });
    } catch {
      throw incomplete('InfluxDB address (http://host:port/database)');
    }
  }
  const url = fields.storeUrl || installation.storeUrl;
  const file = fields.storeTokenFile || installation.storeTokenFile;
  if (!url) throw incomplete('InfluxDB or control address');
  const { storeToken } = credentials;
  if (!file && !storeToken) throw incomplete('store token');
  return { url, token: async () => storeToken || (await readFile(file!, 'utf8')) };
}

/** The control process that is told how far a projection is; undefined where the installation names none. */
export function reportSettings(): { url: string; token: () => Promise<string> } | undefined {
  const { storeUrl, storeTokenFile } = hub().installation;
  if (!storeUrl || !storeTokenFile) return undefined;
  return { url: storeUrl, token: () => readFile(storeTokenFile, 'utf8') };
}

/** The folder for cursors, window states and dead letters. */
export function stateFolder(userDir: string | undefined): string {
  const { dataDir } = hub().installation;
  return dataDir ?? join(userDir ?? '.', 'fieldproof');
}

function incomplete(what: string): FlowsError {
  return new FlowsError('ERR_NETWORK_INCOMPLETE', `network: expected ${what}, got none`);
}
