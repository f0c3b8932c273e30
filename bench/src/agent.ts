/**
 * The agent as it lies on a device, from its bundle, beside Node alone and beside mqtt.js that publishes the same readings
 * as unsigned JSON, against a broker of the same run: resident memory, CPU and disk a reading, the bundle's size, and the
 * time from its start to the first sealed batch.
 */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { Aedes } from 'aedes';
import type { Benchmark } from './main.ts';
import { type BrokerUnderTest, startBroker } from './network-under-test.ts';
import { type Own, temporaryFolder, withResources } from './resources.ts';
import { benchCase } from './result.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const MIB = 1024 * 1024;
const LOOK_LIMIT_MS = 60_000;
const TICKS_PER_SECOND = 100;
/** Simulated rooms of three metrics each. */
const ROOMS = 4;
const READINGS = ROOMS * 3;
const BARE = 'Node alone';
const UNSIGNED = 'mqtt.js with unsigned JSON';

interface Plan {
  readonly runs: number;
  readonly starts: number;
  /** Of the agent before it is measured. */
  readonly settleMs: number;
  readonly measureMs: number;
}

interface Usage {
  readonly rssMiB: number;
  /** Of the time that was measured. */
  readonly cpuSeconds: number;
}

interface AgentUsage extends Usage {
  readonly cpuMsPerReading: number;
  readonly readings: number;
  readonly diskBytes: number;
  readonly diskPages: number;
}

export const agent: Benchmark = async ({ short, progress, profileFolder }) => {
  const plan: Plan = short
    ? { runs: 1, starts: 3, settleMs: 3000, measureMs: 5000 }
    : { runs: 3, starts: 21, settleMs: 12_000, measureMs: 30_000 };
  return await withResources(async (own) => {
    const folder = temporaryFolder(own);
    const bundle = makeBundle(join(folder, 'bundle'));
    const broker = await startBroker(own, { folder, profileFolder });
    const peer = await startAedes(own);
    const make = async (name: string, config: string): Promise<string> =>
      await initAgent(bundle, { folder: join(folder, name), config, broker });

    const slow = (await runs(plan, async (run) => {
      progress(`1 Hz × ${READINGS} channels, run ${run + 1} of ${plan.runs}`);
      const data = await make(`slow-${run}`, configOf(1000));
      // At the same time: none of them does much.
      const [bare, unsigned, ours] = await Promise.all([
        measureProgram(own, ['-e', 'setInterval(() => {}, 1e6)'], plan),
        measureProgram(own, publisher(peer, 1000), plan),
        measureAgent(own, bundle, { data, plan }),
      ]);
      return { bare, unsigned, ours };
    })) as { bare: Usage; unsigned: Usage; ours: AgentUsage }[];
    const inMemory = (await runs({ ...plan, runs: 1 }, async () => {
      progress(`1 Hz × ${READINGS} channels, with a folder in memory`);
      mkdirSync(join(folder, 'memory'));
      const data = await make(
        'memory-agent',
        `memoryFolder: ${join(folder, 'memory')}\n${configOf(1000)}`,
      );
      return await measureAgent(own, bundle, { data, plan });
    })) as AgentUsage[];
    const fast = (await runs(plan, async (run) => {
      progress(`10 Hz × ${READINGS} channels, run ${run + 1} of ${plan.runs}`);
      const data = await make(`fast-${run}`, configOf(100));
      const [unsigned, ours] = await Promise.all([
        measureProgram(own, publisher(peer, 100), plan),
        measureAgent(own, bundle, { data, plan, intervalMs: 100 }),
      ]);
      return { unsigned, ours };
    })) as { unsigned: Usage; ours: AgentUsage }[];
    const startData = await make('start', `${configOf(100)}log: { level: debug }\n`);
    const starts: number[] = [];
    const bareStarts: number[] = [];
    for (let at = 0; at < plan.starts; at += 1) {
      progress(`start ${at + 1} of ${plan.starts}`);
      bareStarts.push(await secondsTo(own, ['-e', 'console.log(1)'], /1/));
      const args = [bundle, 'run', '--data', startData, '--set', 'batch.maxReadings=1'];
      starts.push(await secondsTo(own, args, /sealed kind=telemetry/));
    }
    const fastReadings = (plan.measureMs / 100) * READINGS;
    return {
      cases: [
        benchCase({
          case: 'resident memory above Node alone, 1 Hz',
          unit: 'MiB',
          values: slow.map(({ bare, ours }) => ours.rssMiB - bare.rssMiB),
          peers: {
            [UNSIGNED]: mean(slow.map(({ bare, unsigned }) => unsigned.rssMiB - bare.rssMiB)),
          },
          goal: { on: 'value', max: 14 },
        }),
        benchCase({
          case: 'CPU of 1,000 readings, 10 Hz',
          unit: 'ms',
          values: fast.map(({ ours }) => ours.cpuMsPerReading * 1000),
          peers: {
            [UNSIGNED]: mean(
              fast.map(({ unsigned }) => (unsigned.cpuSeconds * 1e6) / fastReadings),
            ),
          },
        }),
        benchCase({
          case: 'written to disk a reading, 1 Hz',
          unit: 'bytes',
          values: slow.map(({ ours }) => ours.diskBytes / ours.readings),
        }),
        benchCase({
          case: 'written to disk a reading, 1 Hz, in pages of the card',
          unit: 'bytes',
          values: slow.map(({ ours }) => (ours.diskPages * 4096) / ours.readings),
        }),
        benchCase({
          case: 'the same with a folder in memory',
          unit: 'bytes',
          values: inMemory.map((ours) => (ours.diskPages * 4096) / ours.readings),
        }),
        benchCase({
          case: 'core bundle',
          unit: 'kB',
          values: [statSync(bundle).size / 1000],
          goal: { on: 'value', max: 600 },
        }),
        benchCase({
          case: 'start to first sealed batch',
          unit: 's',
          values: starts,
          peers: { 'Node to its first line': median(bareStarts) },
          goal: { on: 'value', max: 0.3 },
        }),
      ],
      notes: [
        `${READINGS} channels of the simulated sensor, sealed every 10 s, acknowledged by a broker on this machine; ${BARE}: ${mean(slow.map(({ bare }) => bare.rssMiB)).toFixed(1)} MiB.`,
        'Disk is what the agent counts: bytes handed to the system, and pages by the model of write-meter.ts.',
        'On a virtual machine the start comes in two levels, as Node’s own does.',
        'FlowFuse’s device agent could not be installed: its dependencies alone are 26 MiB in 151 packages, and it then runs a whole Node-RED on the device.',
      ],
    };
  });
};

async function runs<T>(plan: Plan, body: (run: number) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (let run = 0; run < plan.runs; run += 1) results.push(await body(run));
  return results;
}

function makeBundle(folder: string): string {
  execFileSync('npm', ['run', '--silent', 'bundle', '--', folder], { cwd: ROOT });
  return join(folder, 'fieldproof-agent.mjs');
}

function configOf(intervalMs: number): string {
  const rooms = Array.from(
    { length: ROOMS },
    (_, at) =>
      `  - { driver: simulated, profile: room${at}, seed: ${at}, intervalMs: ${intervalMs} }\n`,
  );
  return `sensors:\n${rooms.join('')}`;
}

/** Joins, and gives the data folder. */
async function initAgent(
  bundle: string,
  agent: { readonly folder: string; readonly config: string; readonly broker: BrokerUnderTest },
): Promise<string> {
  const { folder, config, broker } = agent;
  const joinLine = await broker.joinLine(1);
  execFileSync(process.execPath, [bundle, 'init', '--data', folder, '--join', joinLine, '--json']);
  writeFileSync(join(folder, 'agent.yaml'), config);
  return folder;
}

async function measureAgent(
  own: Own,
  bundle: string,
  {
    data,
    plan,
    intervalMs = 1000,
  }: { readonly data: string; readonly plan: Plan; readonly intervalMs?: number },
): Promise<AgentUsage> {
  const { child, stop } = startNode(own, [bundle, 'run', '--data', data]);
  await sleep(plan.settleMs);
  const before = await lookWhen(bundle, data, ({ counts }) => counts.readings > 0);
  const cpuBefore = cpuSeconds(child.pid!);
  await sleep(plan.measureMs);
  const usage = { rssMiB: rssMiB(child.pid!), cpuSeconds: cpuSeconds(child.pid!) - cpuBefore };
  const after = await lookWhen(
    bundle,
    data,
    ({ counts }) => counts.readings > before.counts.readings,
  );
  await stop();
  return {
    ...usage,
    cpuMsPerReading: (usage.cpuSeconds * 1000) / ((plan.measureMs / intervalMs) * READINGS),
    readings: after.counts.readings - before.counts.readings,
    diskBytes: after.disk.bytes - before.disk.bytes,
    diskPages: after.disk.pages - before.disk.pages,
  };
}

interface Look {
  readonly counts: { readonly readings: number };
  readonly disk: { readonly bytes: number; readonly pages: number };
}

/** The status is written every 10 s: waits for one that fits. */
async function lookWhen(
  bundle: string,
  data: string,
  fits: (look: Look) => boolean,
): Promise<Look> {
  const end = performance.now() + LOOK_LIMIT_MS;
  for (;;) {
    const found = look(bundle, data);
    if (fits(found)) return found;
    if (performance.now() > end) throw new Error('agent: no readings within 60 s');
    await sleep(500);
  }
}

function look(bundle: string, data: string): Look {
  const args = [bundle, 'status', '--data', data, '--json'];
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as Look;
}

async function measureProgram(own: Own, args: readonly string[], plan: Plan): Promise<Usage> {
  const { child, stop } = startNode(own, args);
  await sleep(plan.settleMs);
  const before = cpuSeconds(child.pid!);
  await sleep(plan.measureMs);
  const usage = { rssMiB: rssMiB(child.pid!), cpuSeconds: cpuSeconds(child.pid!) - before };
  await stop();
  return usage;
}

function publisher(url: string, intervalMs: number): readonly string[] {
  const program = join(import.meta.dirname, 'unsigned-publisher.mjs');
  return [program, url, String(READINGS), String(intervalMs)];
}

/** Seconds from the spawn to the first output that matches. */
async function secondsTo(own: Own, args: readonly string[], pattern: RegExp): Promise<number> {
  const begun = performance.now();
  const { child, stop } = startNode(own, args);
  let output = '';
  const seconds = await new Promise<number>((done, fail) => {
    const hear = (chunk: Buffer): void => {
      output += chunk.toString();
      if (pattern.test(output)) done((performance.now() - begun) / 1000);
    };
    child.stdout!.on('data', hear);
    child.stderr!.on('data', hear);
    child.once('close', () => fail(new Error(`agent: ended without ${pattern}\n${output}`)));
  });
  await stop();
  return seconds;
}

function startNode(
  own: Own,
  args: readonly string[],
): { readonly child: ChildProcess; readonly stop: () => Promise<void> } {
  const env = { ...process.env, NODE_OPTIONS: '' };
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const closed = once(child, 'close');
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    child.stdout!.resume();
    child.stderr!.resume();
    await closed;
  };
  own(async () => {
    if (child.exitCode === null && child.signalCode === null) await stop();
  });
  return { child, stop };
}

async function startAedes(own: Own): Promise<string> {
  const aedes = await Aedes.createBroker();
  const server = createServer(aedes.handle);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  own(() => {
    server.close();
    aedes.close();
  });
  return `mqtt://127.0.0.1:${(server.address() as { port: number }).port}`;
}

/** Of all threads, user and system. proc(5), stat fields 14 and 15. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

function rssMiB(pid: number): number {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))!;
  return (Number(kilobytes) * 1024) / MIB;
}

function mean(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0) / values.length;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}

function sleep(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}
