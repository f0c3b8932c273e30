/** `fieldproof-network`: where the evidence and the store are. Configuration node; holds the writer that stores share. */

import { join } from 'node:path';
import type { AnalyticsError } from '@fieldproof/analytics/errors';
import { appendLines } from '@fieldproof/analytics/projection/dead-letters';
import { httpLineSink } from '@fieldproof/analytics/projection/line-sink';
import { StoreWriter } from '@fieldproof/analytics/projection/store-writer';
import {
  type NetworkCredentials,
  type NetworkFields,
  stateFolder,
  storeSettings,
  type TailSettings,
  tailSettings,
} from '../network-settings.ts';
import type { NodeApi, NodeBase, NodeDef } from '../node-red-api.ts';

export interface NetworkNode extends NodeBase<NetworkCredentials> {
  /** @throws {FlowsError} ERR_NETWORK_INCOMPLETE. */
  tail(): TailSettings;
  /** One for all store nodes: one request in flight. @throws {FlowsError} ERR_NETWORK_INCOMPLETE. */
  writer(): StoreWriter;
  /** Tells of failed attempts, and of the first that works after one. */
  readonly attempts: Set<(error: AnalyticsError | undefined) => void>;
  /** Folder of cursors, states and dead letters. */
  readonly folder: string;
}

export default function register(RED: NodeApi): void {
  function network(this: NetworkNode, def: NodeDef & Partial<NetworkFields>) {
    RED.nodes.createNode(this, def);
    const text = (value: string | undefined) => (value ?? '').trim();
    const fields: NetworkFields = {
      brokerUrl: text(def.brokerUrl),
      tailTokenFile: text(def.tailTokenFile),
      storeUrl: text(def.storeUrl),
      storeTokenFile: text(def.storeTokenFile),
      influxUrl: text(def.influxUrl),
      influxDatabase: text(def.influxDatabase),
    };
    const credentials = this.credentials ?? {};
    const folder = stateFolder(RED.settings.userDir);
    const attempts: NetworkNode['attempts'] = new Set();
    let writer: StoreWriter | undefined;
    const own: Pick<NetworkNode, 'tail' | 'writer' | 'attempts' | 'folder'> = {
      attempts,
      folder,
      tail: () => tailSettings(fields, credentials),
      writer: () => {
        writer ??= new StoreWriter({
          sink: httpLineSink(storeSettings(fields, credentials)),
          setAside: (lines, error) =>
            appendLines(join(folder, `store-${this.id}.dead.lp`), lines, {
              error,
              nowMs: Date.now(),
            }),
          onAttempt: (error) => {
            for (const listener of attempts) listener(error);
          },
        });
        return writer;
      },
    };
    Object.assign(this, own);
    this.on('close', (_removed, done) => {
      (writer?.close() ?? Promise.resolve()).finally(done);
    });
  }
  RED.nodes.registerType('fieldproof-network', network as never, {
    credentials: { tailToken: { type: 'password' }, storeToken: { type: 'password' } },
  });
}
