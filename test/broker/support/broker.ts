/** A broker on free ports in a temporary folder. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type BrokerDependencies,
  type RunningBroker,
  startBroker,
} from '@fieldproof/broker/broker';
import type { BrokerOptions } from '@fieldproof/broker/config';
import { TestDevice } from './device.ts';

export interface TestBroker {
  readonly dataDir: string;
  running: RunningBroker;
  /** Calls the admin API. */
  admin(method: string, path: string, body?: object): Promise<{ status: number; body: unknown }>;
  joinLine(uses?: number): Promise<string>;
  /** An enrolled device, not connected. */
  device(): Promise<TestDevice>;
  restart(): Promise<void>;
  /** Stops everything and removes the folder. */
  close(): Promise<void>;
}

export async function startTestBroker(
  options: Partial<BrokerOptions> = {},
  dependencies: BrokerDependencies = {},
): Promise<TestBroker> {
  const dataDir = mkdtempSync(join(tmpdir(), 'fieldproof-broker-'));
  const start = () =>
    startBroker(
      {
        dataDir,
        httpPort: 0,
        mqttPort: 0,
        httpsPort: 0,
        mqttsPort: 0,
        logLevel: 'silent',
        verifierThreads: 0,
        receiptIntervalMs: 50,
        publishIntervalMs: 50,
        helloPerSecond: 0,
        enrolPerSecond: 0,
        ...options,
      },
      dependencies,
    );
  const devices: TestDevice[] = [];
  const broker: TestBroker = {
    dataDir,
    running: await start(),
    admin: async (method, path, body) => {
      const token = readFileSync(join(dataDir, 'tokens/admin'), 'utf8').trim();
      const response = await fetch(`${broker.running.addresses.http}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body && { 'content-type': 'application/json' }),
        },
        ...(body && { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      return { status: response.status, body: text === '' ? null : JSON.parse(text) };
    },
    joinLine: async (uses = 1) => {
      const { body } = await broker.admin('POST', '/admin/tokens', { uses });
      return (body as { joinLine: string }).joinLine;
    },
    device: async () => {
      const { addresses, network } = broker.running;
      const device = new TestDevice({ http: addresses.http, mqtt: addresses.mqtt, network });
      await device.enrol(await broker.joinLine());
      devices.push(device);
      return device;
    },
    restart: async () => {
      await broker.running.stop();
      broker.running = await start();
    },
    close: async () => {
      for (const device of devices) await device.close();
      await broker.running.stop();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
  return broker;
}
