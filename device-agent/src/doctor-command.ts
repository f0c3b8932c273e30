/** `fieldproof-agent doctor`: every check, each with its remedy. */

import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import type { AgentConfig } from './config.ts';
import { examine, type Finding, formatFindings, ok, throwIfUnhealthy } from './doctor.ts';
import { checkFiles, checkSensors, failFor } from './doctor-agent.ts';
import {
  checkDisk,
  checkLossWindow,
  checkPower,
  checkWear,
  checkWrites,
} from './doctor-machine.ts';
import { checkNetwork } from './doctor-network.ts';
import type { DataFlags } from './owner-commands.ts';
import { lockHolder } from './state-lock.ts';
import { loadStatus } from './status.ts';

/** What the command needs of its surroundings. */
export interface DoctorContext {
  /** Adds a command that knows `--data`, `--config` and `--set`. */
  readonly command: (name: string, description: string) => Command;
  readonly configOf: (flags: DataFlags) => Promise<AgentConfig>;
  readonly out: (text: string) => void;
  readonly random: (length: number) => Uint8Array;
}

type DoctorFlags = DataFlags & { readonly json?: boolean };

export function addDoctorCommand(context: DoctorContext): void {
  context
    .command(
      'doctor',
      'look at network, clock, files, sensors, disk, card and power; changes nothing',
    )
    .option('--json', 'print JSON')
    .action(async (flags: DoctorFlags) => {
      const findings = await examineAgent(flags, context, '/');
      if (flags.json) context.out(`${JSON.stringify({ findings })}\n`);
      else context.out(formatFindings(findings));
      throwIfUnhealthy(findings);
    });
}

/** @param root - root of the file system, `/` but in tests. */
export async function examineAgent(
  flags: DataFlags,
  { configOf, random }: Pick<DoctorContext, 'configOf' | 'random'>,
  root: string,
): Promise<readonly Finding[]> {
  const dataDir = resolve(flags.data);
  let config: AgentConfig | undefined;
  let configuration: Finding;
  try {
    config = await configOf(flags);
    configuration = ok('configuration', `sensors: ${config.sensors.length}`);
  } catch (error) {
    configuration = failFor('configuration', error);
  }
  const pid = await lockHolder(join(dataDir, 'state')).catch(() => undefined);
  return await examine({
    files: () => checkFiles(dataDir),
    configuration: async () => [configuration],
    network: () => checkNetwork({ dataDir, config, root, random }),
    sensors: () => checkSensors(config, { dataDir, root }),
    disk: () => checkDisk(dataDir),
    wear: () => checkWear(root),
    writes: async () => {
      const said = pid === undefined ? undefined : await loadStatus(dataDir);
      const { budgetBytesPerDay } = config?.disk ?? said?.disk ?? { budgetBytesPerDay: 40_000_000 };
      const counted = said?.disk?.bytesPerDay ?? 0;
      const hasFront = said?.lossWindow?.hasFront ?? config?.memoryFolder !== undefined;
      return [
        ...(await checkWrites(root, pid, { budgetBytesPerDay, counted })),
        ...checkLossWindow(config, hasFront),
      ];
    },
    power: () => checkPower(root),
  });
}
