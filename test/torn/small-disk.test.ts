/**
 * Real processes on a disk that fills up under load and is freed again: nothing is acknowledged that is not durable,
 * the state is said, nobody has to start anything again, and in the end nothing is missing.
 */

import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { auditConservation } from '@fieldproof/analytics/audit/conservation';
import {
  evidenceFolder,
  readCheckpoint,
  readRejects,
  readSegments,
} from '@fieldproof/analytics/audit/evidence-files';
import { readOutbox } from '@fieldproof/analytics/audit/outbox-files';
import { initAgent } from '@fieldproof/device-agent/init';
import { createJoinLine } from '@fieldproof/stack/broker-admin';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { TestDevice } from '../broker/support/device.ts';
import { until } from '../support/network.ts';
import { type OwnProcess, startProcess } from './support/own-process.ts';
import { makeSmallDisk, type SmallDisk } from './support/small-disk.ts';

let folder: string;
let disk: SmallDisk;
let processes: OwnProcess[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fieldproof-full-'));
  disk = makeSmallDisk(12);
  processes = [];
  process.stderr.write(`small disk: ${disk.form}\n`);
});
afterEach(async () => {
  for (const one of processes) await one.end('SIGKILL');
  disk.remove();
  rmSync(folder, { recursive: true, force: true });
});

async function start(...args: Parameters<typeof startProcess>): Promise<OwnProcess> {
  const started = await startProcess(...args);
  processes.push(started);
  return started;
}

function startBroker(dataDir: string, port = '0', env = {}): Promise<OwnProcess> {
  return start('broker/src/broker-main.ts', {
    env: {
      FIELDPROOF_BROKER_DATA_DIR: dataDir,
      FIELDPROOF_BROKER_HTTP_PORT: port,
      FIELDPROOF_BROKER_MQTT_PORT: '0',
      ...env,
    },
  });
}

async function audit(brokerDir: string, agents: readonly string[] = []) {
  const { segments, rejects, checkpoint } = evidenceFolder(brokerDir);
  return await auditConservation({
    frames: (onProblem) => readSegments(segments, onProblem),
    rejects: await readRejects(rejects, () => {}),
    checkpoint: await readCheckpoint(checkpoint),
    devices: await Promise.all(agents.map(readOutbox)),
  });
}

test('a broker whose disk is full acknowledges nothing, says so, and goes on when there is space', async () => {
  const dataDir = join(disk.path, 'broker');
  const broker = await startBroker(dataDir, '0', disk.env);
  const { network, addresses } = broker.ready as unknown as {
    network: string;
    addresses: { http: string; mqtt: string };
  };
  const device = new TestDevice({ ...addresses, network });
  const tokenFile = join(dataDir, 'tokens/admin');
  const token = readFileSync(tokenFile, 'utf8').trim();
  const status = async () => {
    const headers = { authorization: `Bearer ${token}` };
    const response = await fetch(`${addresses.http}/admin/status`, { headers });
    return (await response.json()) as {
      evidence: { entries: number; problem: { code: string; remedy: string } | null };
    };
  };
  await device.enrol(
    await createJoinLine({ url: addresses.http, tokenFile }, { uses: 1, hours: 1 }),
  );
  await device.connect();
  await device.publish('birth', device.seal({ kind: 'birth' }));
  for (let i = 0; i < 20; i++) await device.publish('telemetry', device.seal());
  expect(await status()).toMatchObject({ evidence: { problem: null } });
  expect((await fetch(`${addresses.http}/readyz`)).status).toBe(200);

  disk.fill();
  const sent = new Map<number, Uint8Array>();
  const rejected = () => new Set(device.rejects.flatMap(({ seq }) => (seq === null ? [] : [seq])));
  const before = (await status()).evidence.entries;
  // What is left of the last page may take some more.
  while (rejected().size < 20) {
    const { seq } = device;
    const envelope = device.seal({});
    sent.set(seq, envelope);
    await device.publish('telemetry', envelope);
    if (sent.size > 500) throw new Error('the disk never filled');
  }
  for (const { code, permanent } of device.rejects) {
    expect([code, permanent]).toEqual(['ERR_LOG_FULL', false]);
  }
  const full = await status();
  expect(full.evidence.entries).toBe(before + sent.size - rejected().size);
  expect(full.evidence.problem).toMatchObject({
    code: 'ERR_LOG_FULL',
    message: expect.stringContaining('ENOSPC'),
    remedy: expect.stringContaining('free disk space'),
  });
  const notReady = await fetch(`${addresses.http}/readyz`);
  expect([notReady.status, ((await notReady.json()) as { code: string }).code]).toEqual([
    503,
    'ERR_LOG_FULL',
  ]);
  expect(broker.child.exitCode).toBeNull();

  disk.free();
  await until('it is ready, before anybody writes', async () => {
    return (await fetch(`${addresses.http}/readyz`)).status === 200;
  });
  for (const seq of rejected()) {
    await until('it is recorded', async () => {
      device.rejects.length = 0;
      await device.publish('telemetry', sent.get(seq)!);
      await device.hello();
      return device.rejects.length === 0;
    });
  }
  expect(await status()).toMatchObject({
    evidence: { entries: before + sent.size, problem: null },
  });
  expect((await fetch(`${addresses.http}/readyz`)).status).toBe(200);
  await device.close();

  await broker.end('SIGKILL');
  const again = await startBroker(dataDir, '0', disk.env);
  expect(again.output()).not.toMatch(/cut off|lost/);
  await again.end();
  const report = await audit(dataDir);
  expect(report.checks.filter(({ violations }) => violations > 0)).toEqual([]);
  expect(report.counts.verdicts.accepted).toBe(1 + 20 + sent.size);
});

test('an agent whose disk is full declares what it lost, and goes on when there is space', async () => {
  const brokerDir = join(folder, 'broker');
  const broker = await startBroker(brokerDir);
  const { addresses } = broker.ready as unknown as { addresses: { http: string } };
  const tokenFile = join(brokerDir, 'tokens/admin');
  const joinLine = await createJoinLine({ url: addresses.http, tokenFile }, { uses: 5, hours: 1 });
  const dataDir = join(disk.path, 'agent');
  await initAgent({
    ...{ dataDir, joinLine, name: 'small' },
    owner: { type: 'phrase', phrase: `${'abandon '.repeat(11)}about` },
    configYaml: AGENT_YAML,
    random: (length) => new Uint8Array(randomBytes(length)),
  });
  const port = new URL(addresses.http).port;
  const agent = await start('stack/src/agents-main.ts', { args: [dataDir], env: disk.env });
  const accepted = async () => (await audit(brokerDir, [dataDir])).counts.verdicts.accepted;
  await until('it records', async () => (await accepted()) > 5);

  disk.fill();
  await until('it says so', () => /ENOSPC/.test(agent.output()));
  await new Promise((done) => setTimeout(done, 2000));
  expect(agent.child.exitCode).toBeNull();
  disk.free();
  const then = await accepted();
  await until('it records again', async () => (await accepted()) > then + 5);
  expect(await agent.end()).toBe(0);
  await broker.end();
  const again = await startBroker(brokerDir, port);
  await again.end();
  const report = await audit(brokerDir, [dataDir]);
  expect(report.checks.filter(({ violations }) => violations > 0)).toEqual([]);
});

const AGENT_YAML = `name: small
sensors:
  - { driver: simulated, profile: room, intervalMs: 100, seed: 1 }
batch: { sealEveryMs: 200 }
outbox: { segmentBytes: 65536, fsyncEveryMs: 50 }
link: { backoffMinMs: 100, backoffMaxMs: 1000 }
`;
