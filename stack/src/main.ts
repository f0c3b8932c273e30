#!/usr/bin/env node
/** `npm start`: the whole network on this machine. DESIGN: docs/spec/processes.md. */

import { FieldproofError } from '@fieldproof/protocol/errors';
import { renderUnicodeCompact } from 'uqr';
import { clock, joinInstructions, readyLine, recordedLine, summary } from './announce.ts';
import type { ChildEvent } from './child-process.ts';
import { openDataFolder, releaseDataFolder } from './data-folder.ts';
import { STACK_ERRORS, type StackErrorCode } from './errors.ts';
import { checkInflux, isKnownInflux, noteInflux } from './influx-check.ts';
import { Network, readSecret } from './network.ts';
import { parseOptions, type StartOptions } from './options.ts';
import { awaitOrphans } from './orphans.ts';

const USAGE_EXIT = 2;

let stopRequested = false;
let stop: (() => Promise<void>) | null = null;

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function run(options: StartOptions): Promise<void> {
  const influxAnswers = await reachInflux(options);
  const folder = openDataFolder(options.data);
  if (influxAnswers) noteInflux(folder.root, options.influxUrl ?? '');
  // It often comes before all is up, and is told behind the addresses, where people look.
  let recorded: string | undefined;
  let isUp = false;
  const network = new Network(options, folder, {
    onStep: (name, detail) => {
      if (detail === null) status(`  … ${name}`);
      else clearStatus(readyLine(name, detail));
    },
    onChild: (event) => {
      if (event.type !== 'lost') {
        say(childLine(event));
        return;
      }
      fail(event.error);
      void end();
    },
    onRecorded: (event) => {
      if (recorded !== undefined) return;
      recorded = recordedLine(event);
      if (isUp) say(recorded);
    },
  });
  stop = async () => {
    await network.stop();
    releaseDataFolder(folder);
  };
  say(`Fieldproof · data in ${folder.root}`);
  if ((await awaitOrphans(folder.root)) > 0) {
    say('  what an earlier start left running has ended');
  }
  if (stopRequested) return;
  const running = await network.start();
  if (stopRequested) return;
  say(
    summary(running, {
      controlToken: readSecret(running.control.tokenFile),
      editorPassword: readSecret(running.flows.passwordFile),
      dataDir: folder.root,
      store: options.influxUrl === null ? 'embedded' : withoutPassword(options.influxUrl),
    }),
  );
  if (running.joinLine !== null) {
    say(joinInstructions(running.joinLine, renderUnicodeCompact(running.joinLine)));
  }
  isUp = true;
  if (recorded !== undefined) say(recorded);
}

/** Whether there is an InfluxDB that answers. @throws {StackError} ERR_INFLUX_UNREACHABLE when it never has. */
async function reachInflux({ influxUrl, data }: StartOptions): Promise<boolean> {
  if (influxUrl === null) return false;
  try {
    await checkInflux(influxUrl);
    return true;
  } catch (error) {
    if (!isKnownInflux(data, influxUrl)) throw error;
    say(`${(error as Error).message}; readings are recorded, and stored when it is back`);
    return false;
  }
}

function childLine(event: Exclude<ChildEvent, { readonly type: 'lost' }>): string {
  const time = clock(Date.now());
  switch (event.type) {
    case 'exited':
      return `${time} ${event.name} ended (${event.how}); starting it again in ${event.nextMs / 1000} s`;
    case 'failed':
      return `${time} ${event.why}\n  trying again in ${event.nextMs / 1000} s`;
    case 'restarted':
      return `${time} ${event.name} is back`;
  }
}

/** A line that the next one replaces, where there is a terminal. */
function status(line: string): void {
  if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${line}`);
}

function clearStatus(line: string): void {
  process.stdout.write(process.stdout.isTTY ? `\r\x1b[K${line}\n` : `${line}\n`);
}

function withoutPassword(url: string): string {
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname === '/' ? '' : pathname}`;
}

function fail(error: unknown): void {
  const { message } = error as Error;
  if (error instanceof FieldproofError) {
    const row = STACK_ERRORS[error.code as StackErrorCode];
    process.stderr.write(`\nerror ${error.code}: ${message}\n`);
    if (row) process.stderr.write(`  ${row.remedy}\n`);
    process.exitCode = error.code === 'ERR_OPTION' ? USAGE_EXIT : 1;
  } else {
    process.stderr.write(`\nerror: ${message}\n`);
    process.exitCode = 1;
  }
}

async function end(): Promise<void> {
  if (stopRequested) return;
  stopRequested = true;
  say('\nstopping …');
  await stop?.();
  say('stopped');
  process.exit(process.exitCode ?? 0);
}

process.on('SIGINT', () => void end());
process.on('SIGTERM', () => void end());

try {
  const options = parseOptions(process.argv.slice(2), process.env);
  if (options !== null) await run(options);
} catch (error) {
  if (!stopRequested) {
    fail(error);
    await (stop as (() => Promise<void>) | null)?.();
    process.exit();
  }
}
