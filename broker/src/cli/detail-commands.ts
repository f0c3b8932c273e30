/** `fieldproof-broker devices rename`, `site`, `notes` and `streams`. */

import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { BrokerError } from '../errors.ts';
import { changeDevice } from './change-device.ts';
import { type CommonFlags, common } from './common.ts';

interface SiteFlags extends CommonFlags {
  readonly cell?: string;
  readonly group?: string;
  readonly text?: string;
}

interface StreamFlags extends CommonFlags {
  readonly file?: string;
  readonly add: readonly string[];
  readonly remove: readonly string[];
}

/** @param devices - the command `devices`. */
export function addDetailCommands(devices: Command): void {
  common(devices.command('rename <device> <name>').description('give it another name')).action(
    (device: string, name: string, flags: CommonFlags) =>
      changeDevice(flags, device, { path: 'rename', body: { name } }),
  );
  common(devices.command('site <device>').description('say where it is'))
    .option('--cell <h3>', 'H3 index, published; empty for none')
    .option('--group <name>', 'group, published')
    .option('--text <text>', 'an address or a place, kept here only; empty erases it')
    .action((device: string, { cell, group, text, ...flags }: SiteFlags) => {
      const given = Object.entries({ cell, group, text }).filter(
        ([, value]) => value !== undefined,
      );
      return changeDevice(flags, device, { path: 'site', body: Object.fromEntries(given) });
    });
  common(
    devices
      .command('notes <device> <text>')
      .description('notes of yours, kept here only; an empty text erases them'),
  ).action((device: string, text: string, flags: CommonFlags) =>
    changeDevice(flags, device, { path: 'notes', body: { text } }),
  );
  common(devices.command('streams <device>').description('say which series are wanted of it'))
    .option('--file <file>', 'JSON: [{"metric", "cadenceMs", "resolution"}], instead of all before')
    .option('--add <metric:cadenceMs:resolution>', 'one more, or in place of its metric', list, [])
    .option('--remove <metric>', 'one less', list, [])
    .action(streams);
}

async function streams(device: string, flags: StreamFlags): Promise<void> {
  const { file, add, remove } = flags;
  if (file !== undefined && add.length + remove.length > 0) {
    throw new BrokerError('ERR_REQUEST', '--file: expected no --add and --remove beside it');
  }
  const body =
    file === undefined ? { add: add.map(parseStream), remove } : { streams: readStreams(file) };
  await changeDevice(flags, device, { path: 'streams', body });
}

/** A metric may hold colons: the numbers are at the end. */
function parseStream(text: string): object {
  const [, metric, cadenceMs, resolution] = /^(.+):(\d+):([0-9.eE+-]+)$/.exec(text) ?? [];
  if (metric === undefined) {
    const message = `--add: expected metric:cadenceMs:resolution, got ${text}`;
    throw new BrokerError('ERR_REQUEST', message);
  }
  return { metric, cadenceMs: Number(cadenceMs), resolution: Number(resolution) };
}

function readStreams(file: string): unknown {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'));
    if (Array.isArray(value)) return value;
  } catch (cause) {
    throw new BrokerError('ERR_REQUEST', `${file}: ${(cause as Error).message}`, { cause });
  }
  throw new BrokerError('ERR_REQUEST', `${file}: expected a JSON array of streams`);
}

function list(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}
