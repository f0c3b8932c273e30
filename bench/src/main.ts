/** `npm run bench -- <name> [--json] [--report] [--short] [--minutes N] [--profile FOLDER]`, `npm run bench -- --list`. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type BenchReport, formatReport, machine } from './result.ts';

export interface BenchOptions {
  /** A short form, to see that the benchmark works: its figures mean little. */
  readonly short: boolean;
  /** Of a benchmark that watches something over time. Default 5, or a fraction with `short`. */
  readonly minutes: number | null;
  /** Where processes under test leave CPU profiles; null for none. Profiling costs 5 to 20 %. */
  readonly profileFolder: string | null;
  /** Tells how far it is, on standard error. */
  readonly progress: (line: string) => void;
}

export type Benchmark = (options: BenchOptions) => Promise<Omit<BenchReport, 'name' | 'machine'>>;

/** Every benchmark with what it measures. */
const BENCHMARKS: Readonly<
  Record<string, readonly [about: string, load: () => Promise<Benchmark>]>
> = {
  wire: ['PUBLISH bytes per reading', async () => (await import('./wire.ts')).wire],
  log: [
    'appends per second with fsync, time of a proof',
    async () => (await import('./log.ts')).log,
  ],
  gate: [
    'messages per second verified and recorded by one broker, time of a PUBACK',
    async () => (await import('./gate.ts')).gate,
  ],
  e2e: [
    'readings per second from MQTT to InfluxDB, beside the unsigned pipeline',
    async () => (await import('./e2e.ts')).e2e,
  ],
  connections: [
    'memory of an idle connected device, up to 10,000 of them, beside Mosquitto; what they cost in throughput',
    async () => (await import('./connections.ts')).connections,
  ],
  siege: [
    'PUBACK latency of honest devices with and without slow and flooding attackers',
    async () => (await import('./siege.ts')).siege,
  ],
  nab: [
    'the anomaly score by the Numenta Anomaly Benchmark, beside three published detectors',
    async () => (await import('./nab.ts')).nab,
  ],
  agent: [
    'the agent on a device: memory, CPU and disk a reading, its bundle, its start',
    async () => (await import('./agent.ts')).agent,
  ],
  memory: [
    'resident memory of each process over five minutes at half the maximum rate',
    async () => (await import('./memory.ts')).memory,
  ],
};

const REPORTS = resolve(import.meta.dirname, '../../docs/reports');

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: 'boolean', default: false },
      minutes: { type: 'string' },
      list: { type: 'boolean', default: false },
      profile: { type: 'string' },
      report: { type: 'boolean', default: false },
      short: { type: 'boolean', default: false },
    },
  });
  const [name] = positionals;
  if (values.list || name === undefined) {
    for (const [key, [about]] of Object.entries(BENCHMARKS)) {
      process.stdout.write(`${key.padEnd(12)} ${about}\n`);
    }
    return values.list ? 0 : 2;
  }
  if (values.minutes !== undefined && !(Number(values.minutes) > 0)) {
    process.stderr.write(`error: --minutes: expected a number above 0, got ${values.minutes}\n`);
    return 2;
  }
  const known = BENCHMARKS[name];
  if (known === undefined) {
    process.stderr.write(`error: no benchmark ${name}; npm run bench -- --list names them\n`);
    return 2;
  }
  const run = await known[1]();
  const progress = (line: string): void => {
    process.stderr.write(`${line}\n`);
  };
  const report: BenchReport = {
    name,
    machine: machine(),
    ...(await run({
      short: values.short,
      minutes: values.minutes === undefined ? null : Number(values.minutes),
      profileFolder: values.profile === undefined ? null : resolve(values.profile),
      progress,
    })),
  };
  const text = values.json ? `${JSON.stringify(report, null, 2)}\n` : formatReport(report);
  process.stdout.write(text);
  if (values.report) {
    mkdirSync(REPORTS, { recursive: true });
    writeFileSync(resolve(REPORTS, `bench-${name}.md`), formatReport(report));
  }
  return 0;
}

process.exitCode = await main();
