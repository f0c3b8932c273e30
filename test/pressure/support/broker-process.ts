/** A broker as a process of its own, with a disk that the test can slow down and devices to load it. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { RunningBroker } from '@fieldproof/broker/broker';
import { createJoinLine } from '@fieldproof/stack/broker-admin';
import { SupervisedProcess } from '@fieldproof/stack/child-process';
import { TestDevice } from '../../broker/support/device.ts';
import { programPath } from '../../support/program.ts';

export type BrokerStatus = ReturnType<RunningBroker['status']>;

export interface BrokerProcess {
  readonly pid: number;
  readonly dataDir: string;
  readonly http: string;
  readonly mqttPort: number;
  readonly network: string;
  status(): Promise<BrokerStatus>;
  /** ms that each fsync takes longer, or `hang`. */
  disk(mode: number | 'hang'): void;
  /** An enrolled device, not connected. */
  device(): Promise<TestDevice>;
  serviceToken(): string;
  stop(): Promise<void>;
}

/** @param settings - environment, as `FIELDPROOF_BROKER_…` without the prefix. */
export async function startBrokerProcess(
  folder: string,
  settings: Readonly<Record<string, number>>,
): Promise<BrokerProcess> {
  mkdirSync(folder, { recursive: true });
  const dataDir = join(folder, 'broker');
  const diskFile = join(folder, 'disk');
  const preload = pathToFileURL(resolve(import.meta.dirname, 'slow-disk.mjs')).href;
  const child = new SupervisedProcess({
    name: 'broker',
    entry: programPath('broker/src/broker-main.ts'),
    args: [],
    env: {
      NODE_OPTIONS: `--import ${preload}`,
      SLOW_DISK: diskFile,
      FIELDPROOF_BROKER_DATA_DIR: dataDir,
      FIELDPROOF_BROKER_HTTP_PORT: '0',
      FIELDPROOF_BROKER_MQTT_PORT: '0',
      FIELDPROOF_BROKER_HELLO_PER_SECOND: '0',
      FIELDPROOF_BROKER_ENROL_PER_SECOND: '0',
      ...Object.fromEntries(
        Object.entries(settings).map(([key, value]) => [`FIELDPROOF_BROKER_${key}`, String(value)]),
      ),
    },
    logFile: join(folder, 'broker.log'),
    onEvent: () => {},
  });
  const { network, addresses } = (await child.start()) as unknown as {
    network: string;
    addresses: { http: string; mqtt: string };
  };
  const tokenFile = join(dataDir, 'tokens/admin');
  const authorization = `Bearer ${readFileSync(tokenFile, 'utf8').trim()}`;
  return {
    pid: child.pid!,
    dataDir,
    http: addresses.http,
    mqttPort: Number(new URL(addresses.mqtt).port),
    network,
    status: async () => {
      const answer = await fetch(`${addresses.http}/admin/status`, { headers: { authorization } });
      return (await answer.json()) as BrokerStatus;
    },
    disk: (mode) => writeFileSync(diskFile, String(mode)),
    device: async () => {
      const device = new TestDevice({ ...addresses, network });
      await device.enrol(
        await createJoinLine({ url: addresses.http, tokenFile }, { uses: 1, hours: 1 }),
      );
      return device;
    },
    serviceToken: () => readFileSync(join(dataDir, 'tokens/service'), 'utf8').trim(),
    stop: () => child.stop(),
  };
}
