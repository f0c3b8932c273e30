/** The first agent.yaml of a device: its name, and the sensors that were found. */

import { AgentError } from './errors.ts';
import type { FoundSensor } from './find-sensors.ts';

export interface Proposal {
  readonly name: string;
  readonly cell?: string | undefined;
  readonly sensors: readonly FoundSensor[];
}

/** Text of agent.yaml. What its owner has to finish stands there as a comment. */
export function proposeConfig({ name, cell, sensors }: Proposal): string {
  return `# All keys and their defaults: agent.example.yaml beside the program.
name: ${JSON.stringify(name)}
${cell === undefined ? '# cell: 871fa4aa4ffffff' : `cell: ${JSON.stringify(cell)}`}

sensors:${sensors.some(({ unfinished }) => unfinished === '') ? '' : ' []'}
${sensors.map((sensor) => sensorBlock(sensor)).join('')}
batch:
  sealEveryMs: 10000
`;
}

/** The entry of one sensor, below `sensors:`. */
export function sensorBlock({ found, entry, unfinished }: FoundSensor): string {
  const isReady = unfinished === '';
  const what = isReady ? found : `${found}. To use it ${unfinished}, and take the # away`;
  const lines = entry.map((line) => (isReady ? `  ${line}` : `  # ${line}`));
  return `  # ${what}\n${lines.join('\n')}\n`;
}

/**
 * Those that were asked for: `all`, `none`, or numbers of the list or names of drivers, separated by commas. Unfinished
 * ones are left in, they stand in the file as comments only.
 *
 * @throws {AgentError} ERR_AGENT_USAGE
 */
export function chooseSensors(
  found: readonly FoundSensor[],
  asked: string,
): readonly FoundSensor[] {
  const words = asked.split(',').map((word) => word.trim());
  if (asked.trim() === 'all') return found;
  const unfinished = found.filter((sensor) => sensor.unfinished !== '');
  if (asked.trim() === 'none') return unfinished;
  const ready = found.filter((sensor) => sensor.unfinished === '');
  const isOf = (sensor: FoundSensor, word: string) =>
    sensor.driver === word || String(ready.indexOf(sensor) + 1) === word;
  const unknown = words.find((word) => !ready.some((sensor) => isOf(sensor, word)));
  if (unknown !== undefined) {
    const expected = ready.map(({ driver }, at) => `${at + 1} or ${driver}`).join(', ');
    throw new AgentError(
      'ERR_AGENT_USAGE',
      `sensors: expected all, none, ${expected}, got ${JSON.stringify(unknown)}`,
    );
  }
  return [...ready.filter((sensor) => words.some((word) => isOf(sensor, word))), ...unfinished];
}

/** For people: a numbered list of what can be used at once, and what has to be finished. */
export function listSensors(found: readonly FoundSensor[]): string {
  const ready = found.filter(({ unfinished }) => unfinished === '');
  const rest = found.filter(({ unfinished }) => unfinished !== '');
  const lines = [
    ...ready.map((sensor, at) => `  ${at + 1}  ${sensor.found}`),
    ...rest.map((sensor) => `  -  ${sensor.found}: ${sensor.unfinished}, in agent.yaml`),
  ];
  return `${lines.join('\n')}\n`;
}
