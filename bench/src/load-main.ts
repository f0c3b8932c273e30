/**
 * The load generator as a process, so that its CPU is known apart: it makes and connects what it will send, then runs
 * on request. Orders and answers go over IPC: `prepare` → `prepared`, `run` → `result`, `verify` → `verified`.
 */

import { createFleet, type FleetDevice, type FleetOptions } from './fleet.ts';
import { LoadGenerator, type LoadRun } from './load-generator.ts';
import { type MqttWriter, openWriter } from './mqtt-writer.ts';
import { type PlainOptions, plainPackets } from './plain-load.ts';
import { measureRawVerification, type RawLibrary } from './raw-verify.ts';

/** Signed envelopes of enrolled devices, a connection each; or plain JSON over one connection. */
export type LoadPlan =
  | ({ readonly type: 'fleet'; readonly mqttPort: number } & FleetOptions)
  | ({ readonly type: 'plain'; readonly mqttPort: number } & PlainOptions);

export type LoadOrder =
  | { readonly order: 'prepare'; readonly plan: LoadPlan }
  | ({ readonly order: 'run' } & LoadRun)
  /** Raw verification of the same messages, here and now. */
  | { readonly order: 'verify'; readonly library: RawLibrary; readonly messages: number };

const generator = new LoadGenerator();
const writers: MqttWriter[] = [];
let fleet: readonly FleetDevice[] = [];

process.on('disconnect', () => process.exit(1));
process.on('SIGTERM', () => process.exit(0));
process.on('message', (order: LoadOrder) => {
  obey(order).catch(fail);
});
process.send!({ event: 'ready' });

async function obey(order: LoadOrder): Promise<void> {
  if (order.order === 'prepare') {
    const { plan } = order;
    if (plan.type === 'fleet') await prepareFleet(plan);
    else await connect(plan.mqttPort, { clientId: 'bench', packets: plainPackets(plan) });
    process.send!({ event: 'prepared' });
  } else if (order.order === 'verify') {
    const raw = measureRawVerification(fleet, { library: order.library, count: order.messages });
    process.send!({ event: 'verified', ...raw });
  } else {
    const result = await generator.start(order);
    const receipts = writers.reduce((sum, { received }) => sum + received, 0);
    process.send!({ event: 'result', ...result, receipts });
  }
}

async function prepareFleet(plan: LoadPlan & { readonly type: 'fleet' }): Promise<void> {
  fleet = await createFleet(plan);
  for (const device of fleet) {
    const { password, birth } = await device.login();
    await connect(plan.mqttPort, {
      clientId: device.id,
      username: device.id,
      password,
      subscribe: `fp/1/${device.network}/d/${device.id}/+`,
      packets: [birth, ...device.packets],
    });
  }
  await generator.start({ messages: fleet.length, window: fleet.length, rate: null });
}

async function connect(
  port: number,
  options: {
    readonly clientId: string;
    readonly username?: string;
    readonly password?: string;
    readonly subscribe?: string;
    readonly packets: readonly Buffer[];
  },
): Promise<void> {
  const { packets, ...login } = options;
  const { onPuback, onIdle, attach } = generator.lane();
  const writer = await openWriter({ ...login, port, onPuback, onIdle, onError: fail });
  writers.push(writer);
  attach({ writer, packets, next: 0 });
}

function fail(error: unknown): void {
  process.send!({ event: 'failed', message: String((error as Error).stack ?? error) });
}
