/**
 * `npm run fuzz`: hostile packets, logins, envelopes and requests by chance that a seed repeats, for as many cases as
 * one likes.
 *
 *   npm run fuzz -- --cases 1000000 --seed 7
 */

import { parseArgs } from 'node:util';
import { type PacketWriter, packLengthCache } from '@fieldproof/broker/mqtt/length-cache';
import mqttPacket from 'mqtt-packet';
import { AREAS, type Area, type AreaName } from './area.ts';
import type { Found } from './finding.ts';
import { liveAreas } from './live/live-areas.ts';
import { MemoryWatch } from './memory-watch.ts';
import { StandStillWatch } from './patience.ts';
import { envelopesArea, packetsArea } from './pure-areas.ts';
import { type RunReport, runCases } from './run.ts';

const HELP = `npm run fuzz -- [--cases N] [--seed N] [--only ${AREAS.join('|')}] [--minutes N]
               [--from N] [--case N] [--max-findings N]

Sends hostile input to the broker and compares what it does with what the specification says.
--case N runs that case alone. Ctrl-C ends the run with a report. Exit code 1: something was found.
`;

interface Settings {
  readonly seed: number;
  readonly from: number;
  readonly cases: number;
  readonly only: AreaName | null;
  readonly minutes: number;
  readonly maxFindings: number;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function readSettings(): Settings | null {
  const { values } = parseArgs({
    options: {
      cases: { type: 'string', default: '1000000' },
      seed: { type: 'string' },
      only: { type: 'string' },
      minutes: { type: 'string', default: 'Infinity' },
      from: { type: 'string', default: '0' },
      case: { type: 'string' },
      'max-findings': { type: 'string', default: '10' },
      help: { type: 'boolean', default: false },
    },
  });
  const isOne = values.case !== undefined;
  const settings = {
    seed: Number(values.seed ?? Math.floor(Math.random() * 2 ** 31)),
    from: Number(values.case ?? values.from),
    cases: isOne ? 1 : Number(values.cases),
    only: (values.only ?? null) as AreaName | null,
    minutes: Number(values.minutes),
    maxFindings: Number(values['max-findings']),
  };
  const { seed, from, cases, only, minutes, maxFindings } = settings;
  const areWhole = [seed, from, cases, maxFindings].every((n) => Number.isSafeInteger(n) && n >= 0);
  const isArea = only === null || AREAS.includes(only);
  return values.help || !areWhole || !isArea || !(minutes > 0) ? null : settings;
}

function readSettingsOrNull(): Settings | null {
  try {
    return readSettings();
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n`);
    return null;
  }
}

async function main(): Promise<void> {
  const settings = readSettingsOrNull();
  if (settings === null) {
    process.stderr.write(HELP);
    process.exitCode = 2;
    return;
  }
  const { seed, from, cases, only, minutes, maxFindings } = settings;
  const stopper = new AbortController();
  process.on('SIGINT', () => {
    if (stopper.signal.aborted) process.exit(130);
    say('\nending …');
    stopper.abort();
  });
  const strays: Found[] = [];
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (error: unknown) => {
      const message = `${event}: ${(error as Error).stack ?? String(error)}`;
      strays.push({ area: only ?? 'any', number: -1, message, input: '' });
      stopper.abort();
    });
  }
  // Else it grows for half a million cases, and hides what else does.
  packLengthCache(mqttPacket as PacketWriter);
  const started = Date.now();
  const memory = new MemoryWatch();
  const standStill = new StandStillWatch();
  const areas = await openAreas(only);
  say(`seed ${seed}, cases ${from} to ${from + cases - 1}, ${areas.map((a) => a.name).join(', ')}`);
  let said = started;
  let told = 0;
  let last: RunReport = { cases: 0, byArea: {}, found: [] };
  try {
    last = await runCases({
      ...{ seed, from, cases, areas, maxFindings, signal: stopper.signal },
      onProgress: (report) => {
        last = report;
        for (; told < report.found.length; told += 1) say(foundLine(report.found[told]!));
        if (Date.now() - started > minutes * 60_000) stopper.abort();
        if (Date.now() - said < 10_000) return;
        said = Date.now();
        memory.look();
        say(progressLine(report, from + report.cases, Date.now() - started));
      },
    });
  } finally {
    for (const area of areas) await area.close?.();
    standStill.close();
  }
  const found = [...last.found, ...strays];
  const leak = memory.verdict();
  if (leak !== null) found.push({ area: only ?? 'any', number: -1, message: leak, input: '' });
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  const shares = Object.entries(last.byArea).map(([name, count]) => `${name} ${count}`);
  say(
    `${last.cases} cases in ${seconds} s (${shares.join(', ')}); ${memory.line()}${standStill.line()}`,
  );
  for (const each of found) {
    say(`\n${foundLine(each)}`);
    if (each.input !== '') say(`  ${each.input.slice(0, 4000).replaceAll('\n', '\n  ')}`);
    const one = `--seed ${seed} --case ${each.number}${only === null ? '' : ` --only ${only}`}`;
    if (each.number >= 0) say(`  again with: npm run fuzz -- ${one}`);
  }
  say(found.length === 0 ? 'nothing found' : `${found.length} found`);
  process.exitCode = found.length === 0 ? 0 : 1;
}

async function openAreas(only: AreaName | null): Promise<Area[]> {
  const isWanted = (name: AreaName) => only === null || only === name;
  const areas: Area[] = [];
  if (isWanted('packets')) areas.push(packetsArea());
  if (isWanted('envelopes')) areas.push(await envelopesArea());
  areas.push(...(await liveAreas(only === null ? AREAS : [only])));
  return areas;
}

function foundLine({ area, message }: Found): string {
  return `FOUND in ${area}: ${message}`;
}

function progressLine(report: RunReport, at: number, ms: number): string {
  const rate = Math.round(report.cases / (ms / 1000));
  return `${new Date().toISOString().slice(11, 19)}  case ${at}, ${rate}/s, ${report.found.length} found`;
}

main().then(
  () => process.exit(),
  (error: Error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exit(1);
  },
);
