/**
 * Idle clients as a process: devices that are enrolled, log in and subscribe, or plain MQTT clients that subscribe; then
 * they stay. Orders and answers go over IPC: `prepare` → `prepared`, `connect` → `connected`. A connection that ends fails it.
 */

import { createFleet, type FleetDevice } from './fleet.ts';
import { openWriter } from './mqtt-writer.ts';

export type IdleOrder =
  | {
      readonly order: 'prepare';
      readonly http: string;
      readonly joinLine: string;
      readonly seeds: readonly string[];
    }
  /** The next `count` devices, or plain clients where none were prepared. */
  | {
      readonly order: 'connect';
      readonly count: number;
      readonly port: number;
      readonly tls: boolean;
    };

/** Logins at the same time. */
const AT_ONCE = 16;

let fleet: readonly FleetDevice[] = [];
let next = 0;

process.on('disconnect', () => process.exit(1));
process.on('SIGTERM', () => process.exit(0));
process.on('message', (order: IdleOrder) => {
  obey(order).catch(fail);
});
process.send!({ event: 'ready' });

async function obey(order: IdleOrder): Promise<void> {
  if (order.order === 'prepare') {
    const { http, joinLine, seeds } = order;
    const none = { batchesPerDevice: 0, format: 'senml' } as const;
    fleet = await createFleet({ http, joinLine, seeds, devices: seeds.length, ...none });
    process.send!({ event: 'prepared' });
    return;
  }
  const { count, port, tls } = order;
  const end = next + count;
  const login = async (): Promise<void> => {
    while (next < end) await connect(next++, { port, tls });
  };
  await Promise.all(Array.from({ length: AT_ONCE }, login));
  process.send!({ event: 'connected' });
}

async function connect(
  n: number,
  address: { readonly port: number; readonly tls: boolean },
): Promise<void> {
  const device = fleet[n];
  const name = device?.id ?? `idle${process.pid}-${n}`;
  await openWriter({
    ...address,
    clientId: name,
    ...(device && { username: device.id, password: (await device.login()).password }),
    subscribe: device ? `fp/1/${device.network}/d/${device.id}/+` : `bench/${name}/+`,
    onPuback: () => {},
    onIdle: () => {},
    onError: fail,
  });
}

function fail(error: unknown): void {
  process.send!({ event: 'failed', message: String((error as Error).stack ?? error) });
}
