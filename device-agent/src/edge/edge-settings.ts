/**
 * The keys `edge` and `raw` of the configuration: functions of readings that are sent in place of them, and how long
 * the readings behind them are kept.
 *
 *   edge:
 *     temperature: window 1m → deadband 0.2
 *     balcony/humidity: { function: deadband 2, send: both }
 */

import { type Check, integer, isMap, oneOf, type Problem, section, shown } from '../schema.ts';
import { loadEdge } from './load-edge.ts';

/** What is sent of a stream: the results, or the readings as well. */
export type EdgeSend = 'results' | 'both';

/** The functions of one stream. */
export interface EdgeSetting {
  /** As the configuration names it. */
  readonly key: string;
  /** docs/spec/edge-functions.md 3.2, without mistakes. */
  readonly text: string;
  readonly send: EdgeSend;
}

/** By `<profile>/<metric>`. */
export type EdgeSettings = Readonly<Record<string, EdgeSetting>>;

export interface RawSettings {
  readonly keepDays: number;
  readonly maxBytes: number;
  readonly sealEveryMs: number;
  readonly resultEveryMs: number;
}

const MIB = 1024 * 1024;
/** As many streams may have functions. */
const MAX_STREAMS = 256;
const PROFILE = /^[a-z][a-z0-9_-]{0,31}$/;
const METRIC = /^[A-Za-z0-9][A-Za-z0-9:._/-]{0,63}$/;
const MAX_METRIC = 64;
const SEND = oneOf(['results', 'both'], 'results');

/** `raw`: readings that functions were given, for those who ask how a result came about. */
export const RAW_SETTINGS = section<RawSettings>({
  keepDays: integer({ min: 1, max: 366, byDefault: 7 }),
  maxBytes: integer({ min: MIB, max: 2 ** 40, byDefault: 64 * MIB }),
  sealEveryMs: integer({ min: 1000, max: 86_400_000, byDefault: 60_000 }),
  resultEveryMs: integer({ min: 10_000, max: 86_400_000, byDefault: 600_000 }),
}) satisfies Check<RawSettings>;

/**
 * Checks `edge`. A metric without a profile stands for that metric of every sensor; one with a profile goes before it.
 *
 * @param profiles - of the configured sensors.
 */
export async function checkEdge(
  tree: unknown,
  profiles: readonly string[],
  problems: Problem[],
): Promise<EdgeSettings> {
  if (tree === undefined || tree === null) return {};
  if (!isMap(tree)) {
    problems.push(`edge: expected <metric>: <functions>, got ${shown(tree)}`);
    return {};
  }
  const entries = Object.entries(tree);
  if (entries.length > MAX_STREAMS) {
    problems.push(`edge: expected at most ${MAX_STREAMS} streams, got ${entries.length}`);
  }
  const general: [string, EdgeSetting][] = [];
  const single: [string, EdgeSetting][] = [];
  for (const [key, value] of entries.slice(0, MAX_STREAMS)) {
    const profile = profileOf(key, profiles, problems);
    const setting = await checkOne(key, value, { profile, problems });
    if (setting === undefined || profile === undefined) continue;
    if (profile !== null) single.push([key, setting]);
    else for (const each of profiles) general.push([`${each}/${key}`, setting]);
  }
  const settings = Object.fromEntries([...general, ...single]);
  await checkNames(settings, problems);
  return settings;
}

/** Two results of one name would be one series of two things. */
async function checkNames(settings: EdgeSettings, problems: Problem[]): Promise<void> {
  if (Object.keys(settings).length < 2) return;
  const { takenNames } = await loadEdge();
  for (const [of, name] of takenNames(settings)) {
    const { key } = settings[of]!;
    const problem = `edge.${key}: expected names of its own, got ${name}, which another stream has`;
    if (!problems.includes(problem)) problems.push(problem);
  }
}

/** Null for every sensor; undefined where the key is no name. */
function profileOf(
  key: string,
  profiles: readonly string[],
  problems: Problem[],
): string | null | undefined {
  const slash = key.indexOf('/');
  const profile = key.slice(0, Math.max(slash, 0));
  if (slash > 0 && PROFILE.test(profile)) {
    if (!profiles.includes(profile)) {
      const known = profiles.length === 0 ? 'a sensor' : profiles.join(', ');
      problems.push(`edge.${key}: expected a profile of ${known} before the /, got ${profile}`);
      return undefined;
    }
    if (METRIC.test(key.slice(slash + 1))) return profile;
  } else if (METRIC.test(key)) return null;
  problems.push(`edge.${key}: expected <metric> or <profile>/<metric>, got ${shown(key)}`);
  return undefined;
}

async function checkOne(
  key: string,
  value: unknown,
  {
    profile,
    problems,
  }: { readonly profile?: string | null | undefined; readonly problems: Problem[] },
): Promise<EdgeSetting | undefined> {
  const path = `edge.${key}`;
  const { function: text, send, ...others } = isMap(value) ? value : { function: value };
  for (const name of Object.keys(others)) {
    problems.push(`${path}.${name}: unknown key, expected one of function, send`);
  }
  const sends = SEND(send, `${path}.send`, problems);
  if (typeof text !== 'string') {
    problems.push(
      `${path}: expected functions such as window 1m | deadband 0.2, got ${shown(text)}`,
    );
    return undefined;
  }
  const { checkEdgeDefinition, edgeOutputs, formatEdgeProblem, parseEdgeDefinition } =
    await loadEdge();
  const mistakes = checkEdgeDefinition(text);
  if (mistakes.length > 0) {
    problems.push(...mistakes.map((mistake) => `${path}: ${formatEdgeProblem(mistake)}`));
    return undefined;
  }
  const metric = profile ? key.slice(profile.length + 1) : key;
  for (const { suffix } of edgeOutputs(parseEdgeDefinition(text), '')) {
    const length = metric.length + 1 + suffix.length;
    if (suffix !== '' && length > MAX_METRIC) {
      problems.push(
        `${path}: expected names of at most ${MAX_METRIC} characters, got ${metric}.${suffix}`,
      );
      break;
    }
  }
  return { key, text, send: sends };
}
