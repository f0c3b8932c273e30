/** `fieldproof-agent config show`: effective settings, each with where it comes from. Changes nothing. */

import { readFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { checkDesiredState, formatWishProblem } from '@fieldproof/protocol/desired-state';
import { parseEnvelope } from '@fieldproof/protocol/envelope';
import type { Command } from 'commander';
import type { AgentConfig } from './config.ts';
import { type OriginSources, settingsWithOrigins } from './config-origins.ts';
import { readConfigSource } from './config-source.ts';
import { readIfPresent } from './durable-file.ts';
import { reasonOf } from './errors.ts';
import { remoteEdgeMistakes } from './remote-edge.ts';
import { decodeRemoteRecord, REMOTE_FILE } from './remote-file.ts';
import { judgeWishes } from './remote-rules.ts';

export interface ConfigFlags {
  readonly data: string;
  readonly config?: string;
  readonly set: readonly string[];
  readonly json?: boolean;
}

/** What this command takes from the others. */
export interface ConfigContext {
  readonly common: (command: Command) => Command;
  readonly configOf: (flags: ConfigFlags) => Promise<AgentConfig>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly out: (text: string) => void;
  readonly nowMs: () => number;
}

export function addConfigCommand(program: Command, context: ConfigContext): void {
  const config = program.command('config').description('the settings that are in force');
  context
    .common(config.command('show'))
    .description('each setting and where it comes from: file, variable, flag or operator')
    .option('--json', 'print JSON')
    .action((flags: ConfigFlags) => show(flags, context));
}

async function show(flags: ConfigFlags, context: ConfigContext): Promise<void> {
  const { configOf, env, out } = context;
  const dataDir = resolve(flags.data);
  const path = resolve(flags.config ?? join(dataDir, 'agent.yaml'));
  const config = await configOf(flags);
  const file = await readConfigSource(await readFile(path, 'utf8'), basename(path));
  const { remote, note } = await remoteOf(dataDir, config, context);
  const sets = Object.fromEntries(flags.set.map((text) => text.split(/=(.*)/s, 2)));
  const settings = settingsWithOrigins({
    ...{ config, file, name: basename(path), env, flags: sets, remote },
  });
  if (flags.json) {
    const version = remote?.state.version ?? 0;
    out(`${JSON.stringify({ settings, remote: { inForce: version, note } }, null, 2)}\n`);
    return;
  }
  const width = Math.max(...settings.map(({ key }) => key.length)) + 2;
  const valueWidth =
    Math.max(...settings.map(({ value }) => Math.min(String(value).length, 40))) + 2;
  for (const { key, value, origin } of settings) {
    out(`${key.padEnd(width)}${String(value).padEnd(valueWidth)}${origin}\n`);
  }
  if (note !== null) out(`\n${note}\n`);
}

/** What the agent has kept of the operator's settings, judged as it will be at the next start. */
async function remoteOf(
  dataDir: string,
  config: AgentConfig,
  { nowMs }: ConfigContext,
): Promise<{ readonly remote: OriginSources['remote']; readonly note: string | null }> {
  const none = (note: string | null) => ({ remote: null, note });
  const bytes = await readIfPresent(join(dataDir, 'state', REMOTE_FILE));
  if (bytes === undefined) return none(null);
  try {
    const { inForce } = decodeRemoteRecord(bytes);
    if (inForce === null) return none(null);
    if (!config.remote.allow) return none("The operator's settings end: remote.allow is false.");
    const { state } = checkDesiredState(parseEnvelope(inForce).payload);
    if (state === undefined) return none("The operator's settings cannot be read.");
    if (state.expires <= nowMs()) {
      return none(`The operator's version ${state.version} has expired.`);
    }
    const { effective, objections } = judgeWishes(state, {
      ...{ own: config, remote: config.remote, known: new Map() },
      edgeMistakes: await remoteEdgeMistakes(state.edge, config.edge),
    });
    if (effective !== undefined) return { remote: { state, effective }, note: null };
    const reasons = objections.map(formatWishProblem).join('; ');
    return none(`The operator's version ${state.version} does not fit any more: ${reasons}`);
  } catch (error) {
    return none(`The operator's settings cannot be read: ${reasonOf(error)}`);
  }
}
