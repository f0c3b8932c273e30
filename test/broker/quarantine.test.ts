import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { openRegistryDatabase } from '@fieldproof/broker/registry/database';
import { bootPair, formatBootName } from '@fieldproof/protocol/boot-name';
import { seedNumberOf } from '@fieldproof/protocol/registry-actions';
import type { BootName } from '@fieldproof/protocol/registry-device';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { TestDevice, until } from './support/device.ts';
import { readRegistryLog } from './support/registry-log.ts';

let broker: TestBroker;
const machines: TestDevice[] = [];

beforeAll(async () => {
  broker = await startTestBroker();
});
afterAll(async () => {
  for (const machine of machines) await machine.close();
  await broker.close();
});

/** Another machine with the same key, in a boot of its own. */
function copyOf(device: TestDevice, bootCounter: number): TestDevice {
  const copy = Object.assign(new TestDevice({ ...where(), network: device.network }), device, {
    bootCounter,
    bootSeed: Uint8Array.from(randomBytes(4)),
    seq: 0,
    receipts: [],
    rejects: [],
    client: null,
  });
  machines.push(copy);
  return copy;
}

function where() {
  const { http, mqtt } = broker.running.addresses;
  return { http, mqtt, mqttUrl: mqtt };
}

const bootOf = ({ bootCounter, bootSeed }: TestDevice): BootName => ({
  bootCounter,
  bootSeed: seedNumberOf(bootSeed),
});

/** Logs in, taking the session over, and says a fresh birth. */
async function appear(machine: TestDevice): Promise<void> {
  await machine.close();
  Object.assign(machine, where());
  await machine.connect();
  await machine.publish('birth', machine.seal({ kind: 'birth' }));
}

/** Whether the broker takes a reading of this boot. */
async function isTaken(machine: TestDevice): Promise<boolean> {
  const before = broker.running.status().verdicts.accepted;
  machine.rejects.length = 0;
  await machine.publish('telemetry', machine.seal());
  if (broker.running.status().verdicts.accepted > before) return true;
  await until(() => machine.rejects.length > 0, 'a reject');
  expect(machine.rejects[0]).toMatchObject({ code: 'ERR_BOOT_CLONED', permanent: true });
  return false;
}

const actionsOf = async (device: TestDevice) =>
  (await readRegistryLog(broker, device.id)).map(({ action }) => action);

const quarantined = (boot: TestDevice, against: TestDevice) =>
  expect.objectContaining({
    action: 'quarantine',
    boot: bootPair(bootOf(boot)),
    against: bootPair(bootOf(against)),
  });

async function shown(device: TestDevice): Promise<readonly string[]> {
  const { body } = await broker.admin('GET', `/admin/devices/${device.id}`);
  return (body as { readonly quarantined: readonly string[] }).quarantined;
}

test('alternating births are seen over restarts, logged, and kept when the database is lost', async () => {
  const a = await broker.device();
  const b = copyOf(a, 2);
  await appear(a);
  await broker.restart();
  await appear(b);
  await broker.restart();
  expect((await actionsOf(a)).map(({ action }) => action)).toEqual(['enrol']);
  await appear(a);
  expect((await actionsOf(a)).slice(1)).toEqual([quarantined(b, a)]);
  expect(await isTaken(a)).toBe(true);

  await broker.running.stop();
  for (const end of ['', '-wal', '-shm']) {
    rmSync(join(broker.dataDir, `registry.sqlite${end}`), { force: true });
  }
  await broker.restart();
  expect(await shown(a)).toEqual([formatBootName(bootOf(b))]);
  Object.assign(b, where());
  await b.connect();
  expect(await isTaken(b)).toBe(false);
  // The births are those of the log, too: one of a third boot and A again alternate.
  const c = copyOf(a, 3);
  await appear(c);
  await appear(a);
  expect((await actionsOf(a)).slice(1)).toEqual([quarantined(b, a), quarantined(c, a)]);
});

test('a boot with a counter that another has is logged once, and released it is taken', async () => {
  const a = await broker.device();
  const b = copyOf(a, a.bootCounter);
  await appear(a);
  await b.connect();
  expect([await isTaken(b), await isTaken(b)]).toEqual([false, false]);
  await until(() => broker.running.status().verdicts.inFlight === 0);
  expect((await actionsOf(a)).slice(1)).toEqual([quarantined(b, a)]);

  const name = `${b.bootCounter}.${Buffer.from(b.bootSeed).toString('hex')}`;
  const release = (body: object) => broker.admin('POST', `/admin/devices/${a.id}/release`, body);
  expect(await release({ boot: name, reason: 'restored from a backup' })).toMatchObject({
    status: 200,
    body: { quarantined: [], released: [name] },
  });
  expect(await isTaken(b)).toBe(true);
  await broker.restart();
  Object.assign(b, where());
  await b.connect();
  expect(await isTaken(b)).toBe(true);
  expect(await release({ boot: name })).toMatchObject({
    status: 409,
    body: { code: 'ERR_STANDING', remedy: expect.stringContaining('devices show') },
  });
  for (const boot of ['7', '7.A1B2C3D4', '99999999999.a1b2c3d4', '07.a1b2c3d4', 7, undefined]) {
    expect(await release({ boot })).toMatchObject({ status: 400, body: { code: 'ERR_REQUEST' } });
  }
});

test('a boot that an earlier version had quarantined in its database is logged at the start', async () => {
  const a = await broker.device();
  const b = copyOf(a, 2);
  await appear(a);
  await broker.running.stop();
  const file = join(broker.dataDir, 'registry.sqlite');
  const db = await openRegistryDatabase({ url: '', file });
  const { bootCounter, bootSeed } = bootOf(b);
  const row = { boot_counter: bootCounter, boot_seed: bootSeed, created_at: 1 };
  await db
    .insertInto('quarantine')
    .values([
      { device_id: a.id, ...row },
      { device_id: 'z6MkGone', ...row },
    ])
    .execute();
  await db.destroy();
  await broker.restart();
  expect((await actionsOf(a)).slice(1)).toEqual([quarantined(b, a)]);
  await broker.restart();
  expect((await actionsOf(a)).length).toBe(2);
  Object.assign(b, where());
  await b.connect();
  expect(await isTaken(b)).toBe(false);
});
