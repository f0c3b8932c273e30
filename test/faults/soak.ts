/**
 * `npm run soak`: the fault harness for as long as one likes, on one store or both.
 *
 *   npm run soak -- --minutes 30 --seed 7 --store both
 */

import { parseArgs } from 'node:util';
import type { Store } from './broken-network.ts';
import type { PlanCounts } from './fault-plan.ts';
import { reportLines } from './fault-report.ts';
import { faultSession, type SessionReport, type SessionState } from './fault-session.ts';
import { seedFromEnvironment } from './seeded-random.ts';

/** Faults a minute. */
const RATE: PlanCounts = {
  ...{ killBroker: 4, killControl: 4, killFlows: 4, killAgents: 4, killSeveral: 2 },
  ...{ killSupervisor: 1, killLoad: 16, pause: 8, proxy: 21, clock: 10, influx: 2 },
};

const HELP = `npm run soak -- [--minutes N] [--seed N] [--store embedded|influx|both] [--keep]

Breaks a whole network under load, by chance that the seed repeats, and audits what is left.
--keep leaves the folder when something is wrong. Ctrl-C ends the faults and audits; twice, ends everything.
`;

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '10' },
      seed: { type: 'string' },
      store: { type: 'string', default: 'both' },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    say(HELP);
    return;
  }
  const minutes = Number(values.minutes);
  const seed = values.seed === undefined ? seedFromEnvironment() : Number(values.seed);
  if (
    !(minutes > 0) ||
    !Number.isSafeInteger(seed) ||
    !/^(embedded|influx|both)$/.test(values.store)
  ) {
    process.stderr.write(HELP);
    process.exitCode = 2;
    return;
  }
  const stopper = new AbortController();
  process.on('SIGINT', () => {
    if (stopper.signal.aborted) process.exit(130);
    say('\nno more faults; settling and auditing …');
    stopper.abort();
  });
  const stores =
    values.store === 'both' ? (['embedded', 'influx'] as const) : [values.store as Store];
  for (const store of stores) {
    if (stopper.signal.aborted) break;
    say(`\nSEED=${seed}, ${store} store, ${minutes} min`);
    const report = await faultSession({
      ...{ seed, store, durationMs: minutes * 60_000, fleet: true, keep: values.keep },
      counts: scaled(RATE, minutes),
      load: { processes: 6, agents: 2, sensors: 3 },
      signal: stopper.signal,
      onProgress: (state) => say(progressLine(state)),
    });
    print(report);
    if (!isGood(report)) {
      say(
        `FAILED; again with: npm run soak -- --seed ${seed} --store ${store} --minutes ${minutes}`,
      );
      process.exitCode = 1;
    }
  }
}

function scaled(rate: PlanCounts, minutes: number): PlanCounts {
  const entries = Object.entries(rate).map(([name, count]) => [name, Math.ceil(count * minutes)]);
  return Object.fromEntries(entries) as unknown as PlanCounts;
}

function progressLine({ atMs, hits, readings, receipts, memory }: SessionState): string {
  const time = new Date(atMs).toISOString().slice(11, 19);
  const mib = (name: string) => `${name} ${Math.round((memory[name] ?? 0) / 1024)}`;
  const memories = ['broker', 'control', 'flows'].map(mib).join(', ');
  return `${time}  ${hits} faults, ${readings} readings, ${receipts} receipts; MiB: ${memories}`;
}

function isGood(report: SessionReport): boolean {
  const { problems, audit, badLines, misplaced, exitCode } = report;
  return (
    problems.length === 0 &&
    audit.code === 0 &&
    badLines.length === 0 &&
    misplaced === 0 &&
    exitCode === 0
  );
}

function print(report: SessionReport): void {
  const { hits, recoveries, readings, receipts, drainMs, audit, states } = report;
  say('');
  for (const line of reportLines(hits, recoveries)) say(line);
  say(
    `\nreadings ${readings}, new receipts ${receipts}, drained in ${Math.round(drainMs / 1000)} s`,
  );
  for (const name of new Set(states.flatMap(({ memory }) => Object.keys(memory)))) {
    const mib = states.flatMap(({ memory }) => memory[name] ?? []).map((kib) => kib / 1024);
    const [half, all] = [mib.slice(0, mib.length >> 1), mib].map((list) => Math.max(0, ...list));
    say(
      `memory ${name}: max ${Math.round(half!)} MiB in the first half, ${Math.round(all!)} in all`,
    );
  }
  say(`\naudit: exit code ${audit.code}`);
  for (const { name, checked, violations, examples } of audit.report?.checks ?? []) {
    say(`  ${name.padEnd(20)} ${violations === 0 ? 'holds' : 'FAILED'}, ${checked} checked`);
    for (const example of examples.slice(0, 5)) say(`    ${JSON.stringify(example)}`);
  }
  if (report.auditText !== '') say(report.auditText);
  for (const problem of report.problems) say(`PROBLEM: ${problem}`);
  for (const line of report.badLines.slice(0, 20)) say(`LOG: ${line}`);
  if (report.misplaced > 0) say(`MISPLACED in time: ${report.misplaced} readings`);
  if (report.exitCode !== 0) say(`npm start ended with ${report.exitCode}`);
}

main().catch((error: Error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
