/**
 * An agent whose sensors are faster than its link, with real processes: what waits stays within the limit, what is
 * given up is declared, and the rest arrives as soon as the link lets it.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
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
import { type DeclaredGap, readGaps } from '@fieldproof/broker/evidence/settlement-messages';
import { initAgent } from '@fieldproof/device-agent/init';
import { loadStatus } from '@fieldproof/device-agent/status';
import { IntervalSet } from '@fieldproof/protocol/interval-set';
import { formatJoinLine, parseJoinLine } from '@fieldproof/protocol/join-line';
import { decodeBatchEntry, isBatchEntry } from '@fieldproof/protocol/log-entries';
import { createJoinLine } from '@fieldproof/stack/broker-admin';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { TcpProxy } from '../faults/tcp-proxy.ts';
import { until } from '../support/network.ts';
import { programPath } from '../support/program.ts';
import { REPOSITORY } from '../support/repository.ts';
import { type BrokerProcess, startBrokerProcess } from './support/broker-process.ts';

/** The agent believes to find the broker here, on the ports that it has on 127.0.0.1. */
const PROXY_HOST = '127.0.0.2';
const MAX_BYTES = 256 * 1024;
const WINDOW = 8;
/** The sensors make some ten times as much. */
const SLOW_BYTES_PER_SECOND = 2500;
const SEGMENT_BYTES = 64 * 1024;
const ROOMS = 24;

let folder: string;
let agentDir: string;
let broker: BrokerProcess;
let proxies: TcpProxy[];
let agent: ChildProcess | undefined;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'fieldproof-slow-'));
  agentDir = join(folder, 'agent');
  broker = await startBrokerProcess(folder, {
    RECEIPT_INTERVAL_MS: 200,
    PUBLISH_INTERVAL_MS: 200,
  });
  proxies = [];
  for (const port of [Number(new URL(broker.http).port), broker.mqttPort]) {
    const proxy = new TcpProxy({ host: '127.0.0.1', port });
    await proxy.start({ host: PROXY_HOST, port });
    proxies.push(proxy);
  }
});

afterEach(async () => {
  if (agent !== undefined) await ended(agent, 'SIGKILL');
  for (const proxy of proxies) await proxy.stop();
  await broker.stop();
  rmSync(folder, { recursive: true, force: true });
});

test('a link slower than the sensor: bounded, declared, and whole again when it heals', async () => {
  const line = await createJoinLine(
    { url: broker.http, tokenFile: join(broker.dataDir, 'tokens/admin') },
    { uses: 1, hours: 1 },
  );
  const joinLine = formatJoinLine({ ...parseJoinLine(line), host: PROXY_HOST });
  await initAgent({
    ...{ dataDir: agentDir, joinLine, name: 'slow', owner: { type: 'new' } },
    configYaml: configOf(),
    random: (length) => new Uint8Array(randomBytes(length)),
  });
  for (const proxy of proxies) proxy.throttle(SLOW_BYTES_PER_SECOND);
  agent = startAgent();

  let highest = 0;
  const watch = setInterval(() => {
    highest = Math.max(highest, bytesIn(join(agentDir, 'state/outbox')));
  }, 20);
  try {
    await until(
      'the agent has given up a segment',
      () => bytesIn(join(agentDir, 'state/outbox')) < highest - SEGMENT_BYTES / 2,
    );
    // The connection breaks, and the session begins again over the slow link.
    for (const proxy of proxies) proxy.cut();
    const before = (await broker.status()).evidence.entries;
    await until(
      'the slow link delivers again',
      async () => (await broker.status()).evidence.entries > before + WINDOW,
    );
    const slow = (await loadStatus(agentDir))!;
    expect(slow.link.inFlight).toBeLessThanOrEqual(WINDOW);
    expect(slow.outbox.bytes).toBeLessThanOrEqual(MAX_BYTES);
    expect(slow.counts.lostReadings).toBe(0);

    for (const proxy of proxies) proxy.heal();
    // Within the limit, what was taken after the link was back is not given up.
    await until('the backlog is delivered', async () => {
      const outbox = bytesIn(join(agentDir, 'state/outbox'));
      return outbox < MAX_BYTES / 2;
    });
  } finally {
    clearInterval(watch);
  }
  expect(await ended(agent, 'SIGTERM')).toBe(0);
  expect(highest).toBeGreaterThan(MAX_BYTES / 2);
  expect(highest).toBeLessThanOrEqual(MAX_BYTES);

  const evidence = evidenceFolder(broker.dataDir);
  await until('all is published', async () => {
    const checkpoint = await readCheckpoint(evidence.checkpoint);
    return checkpoint?.size === (await broker.status()).evidence.entries;
  });
  const outbox = await readOutbox(agentDir);
  const report = await auditConservation({
    frames: (onProblem) => readSegments(evidence.segments, onProblem),
    rejects: await readRejects(evidence.rejects, () => {}),
    checkpoint: await readCheckpoint(evidence.checkpoint),
    devices: [outbox],
  });
  expect(report.checks.filter(({ violations }) => violations > 0)).toEqual([]);
  const { signed, recorded, dropped, waiting, rejected } = report.counts.devices;
  expect(dropped).toBeGreaterThan(0);
  expect({ rejected, sum: recorded + dropped + waiting }).toEqual({ rejected: 0, sum: signed });

  // More than the audit asks for: the network was told of each one that was given up.
  const known = new IntervalSet();
  const declared: DeclaredGap[] = [];
  for await (const { entry, body } of readSegments(evidence.segments, () => {})) {
    if (!isBatchEntry(entry)) continue;
    const { kind, seq } = decodeBatchEntry(entry);
    expect(known.add(seq)).toBe(true);
    if (kind === 'gap') declared.push(...readGaps(body));
  }
  for (const { from, to } of declared) known.addRange(from, to);
  for (const seq of [...outbox.boots.values()][0]!.envelopes.keys()) known.add(seq);
  expect(outbox.boots.size).toBe(1);
  expect(known.holes()).toEqual([]);
});

function startAgent(): ChildProcess {
  return spawn(
    process.execPath,
    [programPath('device-agent/bin/fieldproof-agent.mjs'), 'run', '--data', agentDir],
    { cwd: REPOSITORY, stdio: 'ignore', env: { ...process.env, NODE_OPTIONS: '' } },
  );
}

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const closed = new Promise<number | null>((done) => child.once('close', done));
  child.kill(signal);
  return await closed;
}

/** A house of rooms, each with its own profile. */
function configOf(): string {
  const sensors = Array.from(
    { length: ROOMS },
    (_, n) => `  - { driver: simulated, profile: room${n}, intervalMs: 100, seed: ${n} }`,
  );
  return `name: slow
sensors:
${sensors.join('\n')}
batch: { sealEveryMs: 100, maxReadings: 12, format: senml }
outbox: { maxBytes: ${MAX_BYTES}, segmentBytes: ${SEGMENT_BYTES}, fsyncEveryMs: 50 }
link: { window: ${WINDOW}, backoffMinMs: 50 }
`;
}

/** What the files take; some may go meanwhile. */
function bytesIn(path: string): number {
  try {
    return readdirSync(path).reduce((sum, name) => {
      const found = statSync(join(path, name), { throwIfNoEntry: false });
      return sum + (found?.size ?? 0);
    }, 0);
  } catch {
    return 0;
  }
}
