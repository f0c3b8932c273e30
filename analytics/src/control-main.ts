#!/usr/bin/env node
/**
 * The control process: `fieldproof-control`, from sources `node --import tsx analytics/src/control-main.ts [--config FILE] [--port 7881] …`.
 *
 * One JSON line on stdout when it serves; logs go to stderr; ends on SIGTERM, SIGINT or when its
 * parent is gone (docs/spec/processes.md section 5).
 */
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { tellParent } from '@fieldproof/protocol/parent-node';
import pino from 'pino';
import { errorLine } from './cli/error-line.ts';
import { CONTROL_KEYS, type ControlConfig, controlConfig } from './config.ts';
import { type RunningControl, startControl } from './control.ts';
import { AnalyticsError } from './errors.ts';

const STOP_LIMIT_MS = 9000;

const flagOf = (key: string): string => key.replaceAll(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);

async function configuration(argv: readonly string[]): Promise<ControlConfig | null> {
  const names = Object.keys(CONTROL_KEYS);
  const options: Record<string, { type: 'string' | 'boolean' }> = {
    ...{ help: { type: 'boolean' }, config: { type: 'string' } },
    ...Object.fromEntries(names.map((key) => [flagOf(key), { type: 'string' as const }])),
  };
  let values: Readonly<Record<string, unknown>>;
  try {
    values = parseArgs({ args: [...argv], options }).values;
  } catch (error) {
    throw new AnalyticsError('ERR_USAGE', (error as Error).message.replaceAll('\n', ' '));
  }
  if (values.help === true) return null;
  const flags = Object.fromEntries(
    names.flatMap((key) => {
      const value = values[flagOf(key)];
      return value === undefined ? [] : [[key, value]];
    }),
  );
  const file = typeof values.config === 'string' ? await configFile(values.config) : {};
  return controlConfig({ file, env: process.env, flags });
}

async function configFile(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as unknown;
  } catch (error) {
    throw new AnalyticsError('ERR_CONFIG', `${path}: ${(error as Error).message}`);
  }
}

function help(): string {
  const rows = Object.entries(CONTROL_KEYS).map(([key, { env, help: what, fallback }]) => {
    const ending = fallback === undefined ? '' : ` (default ${fallback})`;
    return `  --${flagOf(key).padEnd(20)}${what}${ending}\n${' '.repeat(24)}${env}`;
  });
  return `Usage: control-main [--config FILE] [options]\n\n${rows.join('\n')}\n
Examples:
  control-main --data-dir ./data/control --port 7881 --broker-url http://127.0.0.1:7880
  INFLUX_URL=http://127.0.0.1:8086 control-main --port 0\n`;
}

async function main(): Promise<void> {
  let running: RunningControl | null = null;
  let ending = false;
  const end = (): void => {
    if (ending) return;
    ending = true;
    setTimeout(() => process.exit(1), STOP_LIMIT_MS).unref();
    if (running !== null) running.stop().then(() => process.exit(0), fail);
    // While it starts: what is half open is closed by the end of the process.
    else process.exit(0);
  };
  const config = await configuration(process.argv.slice(2));
  if (config === null) {
    process.stdout.write(help());
    return;
  }
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  process.on('disconnect', end);
  // A parent that was killed while this process loaded its modules: that event is past.
  if (process.connected === false) process.exit(0);
  const { logLevel, ...options } = config;
  const log = pino({ level: logLevel, name: 'control' }, pino.destination(2));
  running = await startControl({ ...options, log });
  const ready = {
    ...{ event: 'ready', process: 'control', url: running.url, port: running.port },
    ...{ tokenFiles: running.tokenFiles, newTokens: running.newTokens },
  };
  process.stdout.write(`${JSON.stringify(ready)}\n`);
  tellParent(ready);
}

function fail(error: unknown): void {
  process.stderr.write(`${errorLine(error)}\n`);
  const { code } = error as { code?: unknown };
  process.exit(code === 'ERR_USAGE' || code === 'ERR_CONFIG' ? 2 : 1);
}

main().catch(fail);
