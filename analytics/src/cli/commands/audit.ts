/** `fieldproof audit conservation`: whether anything got lost, doubled or changed, from files and databases alone. */
import { resolve } from 'node:path';
import type { CheckResult, Violation } from '../../audit/checks.ts';
import { auditConservation, type ConservationReport } from '../../audit/conservation.ts';
import {
  evidenceFolder,
  readCheckpoint,
  readRejects,
  readSegments,
  type SegmentProblem,
} from '../../audit/evidence-files.ts';
import { readOutbox } from '../../audit/outbox-files.ts';
import {
  readDuckdbFile,
  readInfluxDatabase,
  type StoredRows,
} from '../../audit/stored-readings.ts';
import { AnalyticsError } from '../../errors.ts';
import { loadCursor } from '../../projection/cursor-file.ts';
import { influxAddress } from '../../store/influx-address.ts';
import type { AddCommand } from '../program.ts';
import { formatTable, printable } from '../table.ts';

interface Options {
  readonly brokerData: string;
  readonly agentData: readonly string[];
  readonly influxUrl?: string;
  readonly database?: string;
  readonly storeFile?: string;
  readonly cursor?: string;
  readonly examples: string;
}

const HELP = `
Reads the broker's evidence, agents' outboxes and the store; asks no process. Each check is a sentence that holds or
not. Let the network settle or stop first: what is on its way is not lost. A DuckDB file can be read only while the
control process is stopped.

Of received = accepted + duplicate + rejected, files prove this much: accepted are the batch entries; rejected are the
records of the reject log, one for each seq that a permanent reject settled, and the reject-tally entries, which miss
what was refused in the last minute before a broker was killed; duplicates leave no trace. Checked is that every
seq has one verdict.

Examples:
  fieldproof audit conservation --broker-data data/broker --agent-data data/agents/* \\
    --store-file data/control/store/readings.duckdb
  fieldproof audit conservation --broker-data data/broker --influx-url http://127.0.0.1:8086 --json
`;

export const addAudit: AddCommand = (program, { runLocal, io }) => {
  const audit = program.command('audit').description('checks over what is stored');
  const command = audit
    .command('conservation')
    .description('nothing is lost, doubled or changed from outbox to evidence to store')
    .requiredOption('--broker-data <folder>', 'data folder of the broker')
    .option('--agent-data <folder...>', 'data folders of agents whose outboxes are at hand', [])
    .option('--influx-url <address>', 'InfluxDB that the readings are in')
    .option(
      '--database <name>',
      'its database; by default the path of the address, else fieldproof',
    )
    .option('--store-file <path>', 'DuckDB file that the readings are in')
    .option('--cursor <path>', 'cursor file of the projection: what is behind it may be missing')
    .option('--examples <count>', 'violations shown of each check', '20');
  command.addHelpText('after', HELP);
  runLocal(command, async ({ options, json }) => {
    const report = await auditFiles(options as unknown as Options, io.cwd);
    if (!json(report)) io.out(reportText(report));
    if (report.ok) return;
    const failed = report.checks.filter(({ violations }) => violations > 0);
    const names = failed.map(({ name, violations }) => `${name} ${violations}`).join(', ');
    throw new AnalyticsError('ERR_AUDIT_FAILED', `conservation: expected none, got ${names}`);
  });
};

async function auditFiles(options: Options, cwd: string): Promise<ConservationReport> {
  const { brokerData, agentData, cursor, examples } = options;
  const maxExamples = Number(examples);
  if (!Number.isSafeInteger(maxExamples) || maxExamples < 0) {
    throw new AnalyticsError('ERR_USAGE', `--examples: expected a count, got ${examples}`);
  }
  const folder = evidenceFolder(resolve(cwd, brokerData));
  const rejectProblems: SegmentProblem[] = [];
  const devices = [];
  for (const agent of agentData) devices.push(await readOutbox(resolve(cwd, agent)));
  return await auditConservation({
    frames: (onProblem) => readSegments(folder.segments, onProblem),
    rejects: await readRejects(folder.rejects, (problem) => rejectProblems.push(problem)),
    rejectProblems,
    checkpoint: await readCheckpoint(folder.checkpoint),
    devices,
    store: storeOf(options, cwd),
    cursor: cursor === undefined ? undefined : await cursorIndex(resolve(cwd, cursor)),
    maxExamples,
  });
}

function storeOf(options: Options, cwd: string): AsyncIterable<StoredRows> | undefined {
  const { influxUrl, storeFile, database } = options;
  if (influxUrl !== undefined && storeFile !== undefined) {
    throw new AnalyticsError('ERR_USAGE', 'store: expected --influx-url or --store-file, got both');
  }
  if (storeFile !== undefined) return readDuckdbFile(resolve(cwd, storeFile));
  if (influxUrl === undefined) return undefined;
  return readInfluxDatabase(influxAddress(influxUrl, { database: database ?? '' }));
}

async function cursorIndex(path: string): Promise<number> {
  const { index, problems } = await loadCursor(path);
  if (problems[0] !== undefined) throw problems[0];
  return index;
}

function reportText({ checks, counts }: ConservationReport): string {
  const table = formatTable(
    ['CHECK', 'RESULT', 'CHECKED', 'VIOLATIONS', 'CLAIM'],
    checks.map((check) => [
      ...[check.name, resultOf(check), check.checked, check.violations, check.claim],
    ]),
  );
  const examples = checks.flatMap(({ name, examples, violations }) => {
    if (violations === 0) return [];
    const more = violations > examples.length ? [`  … ${violations} in all`] : [];
    return [`\n${name}:`, ...examples.map((one) => `  ${violationText(one)}`), ...more];
  });
  const { verdicts, devices, readings, store, torn } = counts;
  const tally = Object.entries(verdicts.tally).map(([code, count]) => `${code} ${count}`);
  const rows = [
    `entries ${counts.entries}: accepted ${verdicts.accepted}, rejected seqs ${verdicts.rejectedSeqs}, erased ${verdicts.erased}`,
    `refusals by tally: ${tally.length === 0 ? 'none' : tally.join(', ')}`,
    `signed by the devices given ${devices.signed} = recorded ${devices.recorded} + rejected ${devices.rejected} + dropped ${devices.dropped} + waiting ${devices.waiting} + closed ${devices.closed}, and what is lost`,
  ];
  if (store !== null) {
    rows.push(
      `readings recorded ${readings.placeable}, entries without time anchor ${readings.unanchored}`,
      `values stored ${store.stored}, of windows ${store.windowValues}, withheld ${store.withheld}, not yet due ${store.notYet}`,
    );
  }
  for (const detail of torn) rows.push(`torn end: ${detail}`);
  return `${table}${examples.map((line) => `${line}\n`).join('')}\n${rows.map((row) => `${printable(row)}\n`).join('')}`;
}

function resultOf({ violations, checked }: CheckResult): string {
  if (violations > 0) return 'FAILED';
  return checked === 0 ? 'nothing to check' : 'holds';
}

function violationText({ device, boot, seq, index, detail }: Violation): string {
  const where = [
    device === undefined || device === '' ? '' : `device ${device}`,
    boot === undefined ? '' : `boot ${boot}`,
    seq === undefined ? '' : `seq ${seq}`,
    index === undefined ? '' : `entry ${index}`,
  ].filter((part) => part !== '');
  return printable(`${where.join(' ')}: ${detail}`);
}
