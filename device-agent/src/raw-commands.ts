/** `fieldproof-agent raw …`: the raw readings behind results, for the owner and for those who ask about a result. */

import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { systemDisk } from './disk.ts';
import { loadEdge } from './edge/load-edge.ts';
import type { KeptRow } from './edge/raw-reader.ts';
import { AgentError, reasonOf } from './errors.ts';

interface RawFlags {
  readonly data: string;
  readonly boot?: number;
  readonly seq?: number;
  readonly out?: string;
  readonly json?: boolean;
}

/** What these commands take from the others. */
export interface RawContext {
  readonly common: (command: Command) => Command;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

export function addRawCommands(program: Command, context: RawContext): void {
  const raw = program
    .command('raw')
    .description('the raw readings behind the results of edge functions');
  const chosen = (made: Command): Command =>
    context
      .common(made)
      .option('--boot <counter>', 'only results of this boot', wholeNumber)
      .option('--seq <number>', 'only the result that was sealed with this seq', wholeNumber);
  chosen(raw.command('list'))
    .description('results whose raw readings are kept')
    .option('--json', 'print JSON, one result a line')
    .action((flags: RawFlags) => list(flags, context));
  chosen(raw.command('export'))
    .description('write an audit file for each result: its raw readings, proofs and states')
    .requiredOption('--out <folder>', 'folder for the files; it is made')
    .action((flags: RawFlags) => exportFiles(flags, context));
  raw
    .command('verify')
    .argument('<file...>', 'audit files')
    .description('compute the results of audit files again')
    .action((files: readonly string[]) => verify(files, context));
}

async function list(flags: RawFlags, { out, err }: RawContext): Promise<void> {
  const { keptResults, rowOf } = await loadEdge();
  let count = 0;
  for await (const kept of keptResults(folderOf(flags), systemDisk, damaged(err))) {
    if (!isChosen(kept.record, flags)) continue;
    count += 1;
    const row = rowOf(kept);
    out(flags.json ? `${JSON.stringify(row)}\n` : `${formatRow(row)}\n`);
  }
  if (count === 0 && !flags.json) out('no results are kept\n');
}

async function exportFiles(flags: RawFlags, { out, err }: RawContext): Promise<void> {
  const { keptResults, encodeAuditFile } = await loadEdge();
  const folder = resolve(flags.out!);
  await mkdir(folder, { recursive: true });
  let count = 0;
  for await (const kept of keptResults(folderOf(flags), systemDisk, damaged(err))) {
    const { bootCounter, seq } = kept.record;
    if (!isChosen(kept.record, flags)) continue;
    await writeFile(join(folder, `${bootCounter}-${seq}.fpaudit`), encodeAuditFile(kept));
    count += 1;
  }
  out(`${count} ${count === 1 ? 'result' : 'results'} written to ${folder}\n`);
}

async function verify(files: readonly string[], { out }: RawContext): Promise<void> {
  const { verifyAuditFile, MAX_AUDIT_BYTES } = await loadEdge();
  for (const file of files) {
    const content = await read(file, MAX_AUDIT_BYTES);
    try {
      const { boot, seq, streams, raw, results } = verifyAuditFile(content);
      out(
        `${file}: boot ${boot}, seq ${seq}: ${results} results of ${streams.join(', ')} follow from ${raw} raw readings\n`,
      );
    } catch (cause) {
      const { code } = cause as { code?: unknown };
      if (code !== 'ERR_AGENT_RAW_CONTRADICTED') throw cause;
      throw new AgentError(code, `${file}: ${reasonOf(cause)}`, { cause });
    }
  }
}

async function read(file: string, maxBytes: number): Promise<Uint8Array> {
  try {
    const { size } = await stat(file);
    if (size <= maxBytes) return await readFile(file);
  } catch (cause) {
    throw new AgentError('ERR_AGENT_USAGE', `${file}: ${reasonOf(cause)}`, { cause });
  }
  throw new AgentError('ERR_AGENT_USAGE', `${file}: expected at most ${maxBytes} bytes`);
}

function folderOf({ data }: RawFlags): string {
  return join(resolve(data), 'state', 'raw');
}

function isChosen(
  { bootCounter, seq }: { readonly bootCounter: number; readonly seq: number },
  flags: RawFlags,
): boolean {
  const isBoot = flags.boot === undefined || flags.boot === bootCounter;
  return isBoot && (flags.seq === undefined || flags.seq === seq);
}

function damaged(err: (text: string) => void): (reason: string) => void {
  return (reason) =>
    err(`fieldproof-agent: raw readings that cannot be read are left out: ${reason}\n`);
}

function formatRow({
  boot,
  seq,
  from,
  to,
  firstMs,
  lastMs,
  streams,
  readings,
  results,
}: KeptRow): string {
  const time = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
  const when =
    firstMs === null || lastMs === null
      ? 'clock not synchronised'
      : `${time(firstMs)} to ${time(lastMs)}`;
  return `boot ${boot} seq ${seq}  ${when}  chunks ${from}-${to}  ${readings} readings, ${results} results of ${streams.join(', ')}`;
}

function wholeNumber(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new AgentError('ERR_AGENT_USAGE', `expected a whole number, got ${text}`);
}
