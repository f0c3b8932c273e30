/** `init` at a terminal: asks for what the flags do not say. Nothing is made before the last answer. */

import type { Ask } from './ask.ts';
import { checkConfig } from './config.ts';
import { AgentError, reasonOf } from './errors.ts';
import type { FoundSensor } from './find-sensors.ts';
import type { OwnerChoice } from './init.ts';
import { readJoinLine } from './membership.ts';
import { ownerFromPhrase } from './owner.ts';
import { chooseSensors, listSensors } from './proposed-config.ts';

/** What is decided already, by flags or by what the data folder has. */
export interface Decided {
  readonly joinLine: string | undefined;
  readonly name: string | undefined;
  readonly owner: OwnerChoice | undefined;
  readonly sensors: readonly FoundSensor[] | undefined;
}

export interface Answers {
  readonly joinLine: string;
  readonly name: string;
  readonly owner: OwnerChoice;
  readonly sensors: readonly FoundSensor[];
}

export interface DialogueContext {
  readonly ask: Ask;
  readonly askPhrase: () => Promise<string>;
  readonly out: (text: string) => void;
  /** Proposed name. */
  readonly hostname: string;
  readonly findSensors: () => Promise<readonly FoundSensor[]>;
}

/** @throws {AgentError} ERR_AGENT_INTERRUPTED when the person leaves. */
export async function askForRest(decided: Decided, context: DialogueContext): Promise<Answers> {
  const joinLine = decided.joinLine ?? (await askJoinLine(context));
  const name = decided.name ?? (await askName(context));
  const owner = decided.owner ?? (await askOwner(context));
  const sensors = decided.sensors ?? (await askSensors(context));
  return { joinLine, name, owner, sensors };
}

async function askJoinLine(context: DialogueContext): Promise<string> {
  context.out('The operator of the network shows a join line; it begins with fieldproof://\n');
  return await untilGood(context, 'Join line: ', (answer) => {
    readJoinLine(answer);
    return answer;
  });
}

async function askName(context: DialogueContext): Promise<string> {
  const proposed = await nameOr(context.hostname, 'agent');
  return await untilGood(context, `Name of this device [${proposed}]: `, async (answer) => {
    const name = answer === '' ? proposed : answer;
    await checkConfig({ name });
    return name;
  });
}

async function askOwner(context: DialogueContext): Promise<OwnerChoice> {
  context.out('\nRewards go to an owner, who is known by twelve words, the recovery phrase.\n');
  const question = 'Enter for a new owner, or p if you have a phrase already: ';
  const choice = await untilGood(context, question, (answer) => {
    if (answer === '' || answer.toLowerCase() === 'p') return answer;
    throw new AgentError('ERR_AGENT_OWNER', `owner: expected Enter or p, got ${answer}`);
  });
  if (choice === '') return { type: 'new' };
  for (;;) {
    const phrase = await context.askPhrase();
    try {
      await ownerFromPhrase(phrase);
      return { type: 'phrase', phrase };
    } catch (error) {
      context.out(`${reasonOf(error)}\n`);
    }
  }
}

async function askSensors(context: DialogueContext): Promise<readonly FoundSensor[]> {
  const found = await context.findSensors();
  context.out(`\nFound to measure:\n${listSensors(found)}`);
  const question = 'Which? Enter for all of the numbers, some of them (1,2), or none: ';
  return await untilGood(context, question, (answer) => chooseSensors(found, answer || 'all'));
}

/** Asks again until the answer is one; what is wrong with it is said. */
async function untilGood<T>(
  { ask, out }: DialogueContext,
  question: string,
  read: (answer: string) => T | Promise<T>,
): Promise<T> {
  for (;;) {
    const answer = await ask(question);
    if (answer === undefined) {
      throw new AgentError('ERR_AGENT_INTERRUPTED', 'init: left before the last answer');
    }
    try {
      return await read(answer.trim());
    } catch (error) {
      out(`${reasonOf(error)}\n`);
    }
  }
}

async function nameOr(name: string, otherwise: string): Promise<string> {
  return await checkConfig({ name }).then(
    () => name,
    () => otherwise,
  );
}
