/**
 * Control and flows, real processes, each on a disk of its own that fills up under load and is freed again: nothing
 * is confirmed that is not stored, cursor and windows wait, both say why, and everything arrives without a hand.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { auditConservation } from '@fieldproof/analytics/audit/conservation';
import {
  evidenceFolder,
  readCheckpoint,
  readRejects,
  readSegments,
} from '@fieldproof/analytics/audit/evidence-files';
import { readDuckdbFile } from '@fieldproof/analytics/audit/stored-readings';
import { loadCursor } from '@fieldproof/analytics/projection/cursor-file';
import { createJoinLine } from '@fieldproof/stack/broker-admin';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { TestDevice } from '../broker/support/device.ts';
import { until } from '../support/network.ts';
import { type OwnProcess, startProcess } from './support/own-process.ts';
import { makeSmallDisk, type SmallDisk } from './support/small-disk.ts';

let folder: string;
let disks: SmallDisk[];
let processes: OwnProcess[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fieldproof-full-'));
  disks = [];
  processes = [];
});
afterEach(async () => {
  for (const one of processes) await one.end('SIGKILL');
  for (const disk of disks) disk.remove();
  rmSync(folder, { recursive: true, force: true });
});

async function start(...args: Parameters<typeof startProcess>): Promise<OwnProcess> {
  const started = await startProcess(...args);
  processes.push(started);
  return started;
}

function smallDisk(mebibytes: number): SmallDisk {
  const disk = makeSmallDisk(mebibytes);
  disks.push(disk);
  process.stderr.write(`small disk: ${disk.form}\n`);
  return disk;
}

interface Status {
  readonly store: { readonly problem: { readonly code: string; readonly remedy: string } | null };
  readonly projection: {
    readonly nextIndex: number;
    readonly lagMs: number;
    readonly problem: { readonly code: string; readonly remedy: string } | null;
  } | null;
}

test('control and flows wait for space, say so, and lose no reading and no window', async () => {
  const brokerDir = join(folder, 'broker');
  const broker = await start('broker/src/broker-main.ts', {
    env: {
      FIELDPROOF_BROKER_DATA_DIR: brokerDir,
      FIELDPROOF_BROKER_HTTP_PORT: '0',
      FIELDPROOF_BROKER_MQTT_PORT: '0',
    },
  });
  const { network, addresses } = broker.ready as unknown as {
    network: string;
    addresses: { http: string; mqtt: string };
  };
  const device = new TestDevice({ ...addresses, network });
  const tokenFile = join(brokerDir, 'tokens/admin');
  await device.enrol(
    await createJoinLine({ url: addresses.http, tokenFile }, { uses: 1, hours: 1 }),
  );
  await device.connect();
  await device.publish('birth', device.seal({ kind: 'birth' }));
  const send = async (count: number) => {
    for (let i = 0; i < count; i++) await device.publish('telemetry', device.seal());
  };

  const storeDisk = smallDisk(24);
  const controlDir = join(storeDisk.path, 'control');
  const control = await start('analytics/src/control-main.ts', {
    env: {
      FIELDPROOF_CONTROL_DATA_DIR: controlDir,
      FIELDPROOF_CONTROL_PORT: '0',
      FIELDPROOF_BROKER_URL: addresses.http,
      ...storeDisk.env,
    },
  });
  const url = String(control.ready.url);
  const flowsDisk = smallDisk(8);
  const flowsDir = join(flowsDisk.path, 'flows');
  const startFlows = () =>
    start('flows/src/flows-main.ts', {
      env: {
        FIELDPROOF_FLOWS_DATA_DIR: flowsDir,
        FIELDPROOF_FLOWS_PORT: '0',
        FIELDPROOF_FLOWS_BROKER_URL: addresses.http,
        FIELDPROOF_FLOWS_TAIL_TOKEN_FILE: join(brokerDir, 'tokens/service'),
        FIELDPROOF_FLOWS_CONTROL_URL: url,
        FIELDPROOF_FLOWS_CONTROL_TOKEN_FILE: join(controlDir, 'flows-token'),
        ...flowsDisk.env,
      },
    });
  let flows = await startFlows();
  const cursor = async () => {
    const state = join(flowsDir, 'state');
    const name = existsSync(state) && readdirSync(state).find((file) => file.endsWith('.cursor'));
    return name ? (await loadCursor(join(state, name))).index : 0;
  };
  const token = readFileSync(join(controlDir, 'admin-token'), 'utf8').trim();
  const status = async () => {
    const headers = { authorization: `Bearer ${token}` };
    return (await (await fetch(`${url}/v1/status`, { headers })).json()) as Status;
  };
  const ready = async () => {
    const answer = await fetch(`${url}/readyz`);
    return [answer.status, ((await answer.json()) as { code?: string }).code];
  };
  await send(20);
  await until('the projection runs', async () => (await cursor()) > 20);
  expect(await ready()).toEqual([200, undefined]);

  // The preloaded form reaches no native code: there, only the disk of the flows fills up.
  if (storeDisk.form === 'tmpfs') {
    storeDisk.fill();
    await until('the store says that it is full', async () => {
      await send(50);
      return (await status()).store.problem !== null;
    });
    expect((await status()).store.problem).toMatchObject({
      code: 'ERR_STORE_FULL',
      remedy: expect.stringContaining('Free disk space'),
    });
    expect(await ready()).toEqual([503, 'ERR_STORE_FULL']);
    const stuck = await cursor();
    await send(20);
    await until('the projection says so', async () => {
      return (await status()).projection?.problem?.code === 'ERR_STORE_FULL';
    });
    expect(await cursor()).toBe(stuck);
    expect(control.child.exitCode ?? flows.child.exitCode).toBeNull();
    storeDisk.free();
    await until('the cursor moves on', async () => (await cursor()) >= stuck + 20);
    await until('it is well again', async () => (await ready())[0] === 200);
  }

  flowsDisk.fill();
  await send(20);
  await until('the flows say that they are full', async () => {
    await send(1);
    return (await status()).projection?.problem?.code === 'ERR_STATE_WRITE';
  });
  expect((await status()).projection?.problem?.remedy).toContain('Free disk space');
  expect(flows.output()).toMatch(/ERR_STATE_WRITE.*ENOSPC/);
  const stuck = await cursor();
  await send(20);
  expect(flows.child.exitCode).toBeNull();
  expect(await cursor()).toBe(stuck);
  // A start without space gives up nothing either: it waits as well, and what the disk has is still read.
  await flows.end('SIGKILL');
  flows = await startFlows();
  flowsDisk.free();
  const last = await (async () => {
    await send(1);
    return (await status()).projection?.nextIndex ?? 0;
  })();
  await until('the cursor moves on', async () => (await cursor()) > Math.max(last, stuck + 40));
  await until('nothing is open', async () => (await status()).projection?.problem === null);
  await device.close();
  await flows.end();
  await control.end('SIGKILL');
  await broker.end();

  const { segments, rejects, checkpoint } = evidenceFolder(brokerDir);
  const report = await auditConservation({
    frames: (onProblem) => readSegments(segments, onProblem),
    rejects: await readRejects(rejects, () => {}),
    checkpoint: await readCheckpoint(checkpoint),
    devices: [],
    store: readDuckdbFile(join(controlDir, 'store/readings.duckdb')),
    cursor: await cursor(),
  });
  expect(report.checks.filter(({ violations }) => violations > 0)).toEqual([]);
});
