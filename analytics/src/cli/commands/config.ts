/** `fieldproof config set|show|history`: sets devices from afar, and says what they made of it. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { AnalyticsError } from '../../errors.ts';
import { type WishesInput, wishLines } from '../../wish-lines.ts';
import type { ApiClient, CliIo } from '../api-client.ts';
import { type DeviceName, findDevices } from '../find-devices.ts';
import type { AddCommand, Invocation } from '../program.ts';
import { startProgress } from '../progress.ts';
import { ageText, formatTable, printable } from '../table.ts';
import { joinWishes, parseDuration, wishesOfFile, wishesOfFlags } from '../wishes-input.ts';

const ASK_EVERY_MS = 500;
const DEFAULT_WAIT = '2m';

interface Report {
  readonly outcome: string;
  readonly atMs: number;
  readonly entry: number;
  readonly code: string | null;
  readonly reasons: readonly string[];
  readonly more: number;
}

interface State {
  readonly version: number;
  readonly issuedMs: number;
  readonly expiresMs: number;
  readonly by: string;
  readonly standing: string;
  readonly wishes: WishesInput;
  readonly reports: readonly Report[];
}

interface Config {
  readonly nowMs: number;
  readonly device: string;
  readonly wanted: State | null;
  readonly inForce: number | null;
  readonly delivery: {
    readonly connected: boolean | null;
    readonly problem: { readonly code: string; readonly message: string } | null;
  };
}

export const addConfig: AddCommand = (program, { run, io }) => {
  const config = program
    .command('config')
    .description('set devices from afar, and see what they made of it');
  config.addHelpText(
    'after',
    `
Examples:
  fieldproof config set balcony --interval air=30s --expires 30d --wait
  fieldproof config set balcony --streams air,system/load --edge 'air/temp=window 1m mean'
  fieldproof config set --group roof --file state.yaml
  fieldproof config show balcony
  fieldproof config history balcony --json
`,
  );

  const collect = (value: string, before: readonly string[]) => [...before, value];
  const set = config
    .command('set')
    .description('issue settings; they take the place of those before')
    .argument('[device]', 'name, id, or the beginning of either')
    .option('--group <name>', 'all devices of a group instead of one')
    .option('--file <path>', 'YAML or JSON: wanted, intervals, edge, preferences, expires')
    .option('--streams <list>', 'profiles and profile/metric that are wanted, or none')
    .option(
      '--interval <profile=duration>',
      'time between samples; several may be given',
      collect,
      [],
    )
    .option(
      '--edge <stream=function>',
      'edge function of a profile/metric; several may be given',
      collect,
      [],
    )
    .option('--seal-every <duration>', 'longest time until readings are sealed and sent')
    .option('--heartbeat <duration>', 'time between signs of life')
    .option('--expires <duration>', "then the device is as its owner has it; default '30d'")
    .option('--add', 'on top of what is set now')
    .option('--clear', 'nothing: the device is as its owner has it')
    .option('--wait', 'until the device has applied or refused them')
    .option('--wait-limit <duration>', 'how long at most', DEFAULT_WAIT);
  set.addHelpText(
    'after',
    `
The device refuses what it does not have or its owner does not allow, and says why; it takes a change back
after which a sensor gives no readings. Never can drivers, programs, files or addresses be set.
A file:
  wanted: [air, system/load]
  intervals: { air: 30s }
  edge: { air/temp: window 1m mean | deadband 0.2 }
  preferences: { sealEveryMs: 60s }
  expires: 30d

Examples:
  fieldproof config set balcony --interval air=30s --wait
  fieldproof config set balcony --clear
`,
  );
  run(set, async (invocation) => {
    const { client, options, json } = invocation;
    const limitMs = parseDuration(String(options.waitLimit));
    if (limitMs === undefined) {
      throw new AnalyticsError('ERR_USAGE', '--wait-limit: expected a duration such as 2m');
    }
    const given = await inputOf(options, io);
    const devices = await findDevices(client, invocation.args[0], options.group);
    const answers: Config[] = [];
    for (const device of devices) {
      const path = pathOf(device);
      const { present, newest } = await presentWishes(client, device);
      // On top of what was seen, and of nothing else.
      const ifVersion = newest;
      const body = options.add === true ? { ...joinWishes(present, given), ifVersion } : given;
      if (options.json !== true) noteDropped(present, body, io);
      let answer = await client.json<Config>('PUT', path, body);
      if (options.wait === true) answer = await waitFor(client, { device, answer, limitMs, io });
      answers.push(answer);
      if (options.json !== true) io.out(issuedText(device, answer));
    }
    json(answers.length === 1 && options.group === undefined ? answers[0] : { devices: answers });
    failOnRefusal(devices, answers);
  });

  const show = config
    .command('show')
    .description('what is wanted of a device, and what is in force')
    .argument('<device>', 'name, id, or the beginning of either');
  show.addHelpText('after', '\nExamples:\n  fieldproof config show balcony\n');
  run(show, async ({ client, json, args }) => {
    const [device] = await findDevices(client, args[0], undefined);
    const answer = await client.json<Config>('GET', pathOf(device!));
    if (!json(answer)) io.out(showText(device!, answer));
  });

  const history = config
    .command('history')
    .description('all that was issued to a device, by whom, and its answers')
    .argument('<device>', 'name, id, or the beginning of either');
  history.addHelpText('after', '\nExamples:\n  fieldproof config history balcony --json\n');
  run(history, async ({ client, json, args }) => {
    const [device] = await findDevices(client, args[0], undefined);
    const answer = await client.json<{ states: readonly State[] }>(
      'GET',
      `${pathOf(device!)}/history`,
    );
    if (json(answer)) return;
    if (answer.states.length === 0) {
      io.out('Nothing was issued to this device.\n');
      return;
    }
    const rows = answer.states.map((state) => {
      const last = state.reports.at(-1);
      const detail = [...wishLines(state.wishes).map((pair) => pair.join(' ')), ...reasonsOf(last)];
      return [
        ...[state.version, time(state.issuedMs), state.by, time(state.expiresMs), state.standing],
        ...[last?.entry ?? null, detail.join('; ') || 'as its owner has it'],
      ];
    });
    io.out(
      formatTable(['VERSION', 'ISSUED', 'BY', 'EXPIRES', 'STANDING', 'ENTRY', 'SETTINGS'], rows),
    );
  });
};

async function inputOf(options: Invocation['options'], io: CliIo): Promise<WishesInput> {
  const flags = wishesOfFlags(options);
  const { expiresInMs: _expires, ...settings } = flags;
  const hasFlags = Object.keys(settings).length > 0;
  if (options.clear === true) {
    if (!hasFlags && options.file === undefined && options.add !== true) return flags;
    throw new AnalyticsError('ERR_USAGE', '--clear: expected no other settings');
  }
  if (options.file === undefined) {
    if (hasFlags) return flags;
    throw new AnalyticsError('ERR_USAGE', 'config set: expected --file, settings, or --clear');
  }
  const path = resolve(io.cwd, String(options.file));
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new AnalyticsError('ERR_USAGE', `--file ${path}: cannot be read (${error.code})`);
  });
  return joinWishes(await wishesOfFile(text, path), flags);
}

/** What a device is set to: the newest settings that it has not turned down. */
async function presentWishes(
  client: ApiClient,
  device: DeviceName,
): Promise<{ readonly present: WishesInput; readonly newest: number }> {
  const path = `${pathOf(device)}/history`;
  const { states } = await client.json<{ states: readonly State[] }>('GET', path);
  const present = states.find(({ standing }) => standing === 'applied' || standing === 'waiting');
  return { present: present?.wishes ?? {}, newest: states[0]?.version ?? 0 };
}

/** Asks until the device has answered, and shows where it stands meanwhile. */
async function waitFor(
  client: ApiClient,
  wait: {
    readonly device: DeviceName;
    readonly answer: Config;
    readonly limitMs: number;
    readonly io: CliIo;
  },
): Promise<Config> {
  const { device, limitMs, io } = wait;
  let { answer } = wait;
  const { version } = answer.wanted!;
  const startedMs = Date.now();
  const isOpen = () => answer.wanted?.version === version && answer.wanted.standing === 'waiting';
  if (!isOpen()) return answer;
  const age = () => ageText(Date.now() - startedMs);
  const progress = startProgress(
    io,
    () => `${labelOf(device)}: ${deliveryText(answer)} · ${age()}`,
  );
  const signal = io.interrupted?.();
  try {
    while (isOpen() && Date.now() - startedMs < limitMs && signal?.aborted !== true) {
      await new Promise((done) => setTimeout(done, ASK_EVERY_MS));
      answer = await client.json<Config>('GET', pathOf(device));
    }
  } finally {
    progress.stop();
  }
  if (!isOpen()) return answer;
  throw new AnalyticsError(
    'ERR_CONFIG_UNANSWERED',
    `${labelOf(device)}: version ${version}: ${deliveryText(answer)}, after ${age()}`,
  );
}

function failOnRefusal(devices: readonly DeviceName[], answers: readonly Config[]): void {
  const failed = answers.flatMap((answer, at) => {
    const { standing, version, reports } = answer.wanted!;
    if (standing !== 'refused' && standing !== 'rolled-back') return [];
    const reasons = reasonsOf(reports.at(-1)).join('; ');
    return [`${labelOf(devices[at]!)}: version ${version} was ${said(standing)}: ${reasons}`];
  });
  if (failed.length > 0) throw new AnalyticsError('ERR_CONFIG_REFUSED', failed.join(' | '));
}

/** Settings are whole: what a person has forgotten is told. */
function noteDropped(before: WishesInput, after: WishesInput, io: CliIo): void {
  const kept = new Set(wishLines(after).map(([name]) => name));
  const dropped = wishLines(before).filter(([name]) => !kept.has(name));
  if (dropped.length === 0) return;
  const names = dropped.map(([name]) => printable(name)).join(', ');
  io.err(`note: no longer set: ${names} (--add keeps what is set)\n`);
}

function issuedText(device: DeviceName, { wanted, delivery, ...rest }: Config): string {
  const { version, expiresMs, wishes } = wanted!;
  const state = deliveryText({ wanted, delivery, ...rest });
  const head = `${labelOf(device)}: version ${version} until ${time(expiresMs)}: ${state}\n`;
  return head + linesText(wishLines(wishes), '  ');
}

function showText(device: DeviceName, answer: Config): string {
  const { wanted, inForce } = answer;
  const rows: [string, string][] = [['device', labelOf(device)]];
  if (wanted === null) {
    rows.push(['wanted', 'nothing: it is as its owner has it']);
    return linesText(rows, '');
  }
  const { version, issuedMs, by, expiresMs, reports, wishes } = wanted;
  rows.push([
    'wanted',
    `version ${version} of ${time(issuedMs)} by ${by}, until ${time(expiresMs)}`,
  ]);
  rows.push(['standing', deliveryText(answer)]);
  const inForceText = inForce === 0 ? "none: as the device's owner has it" : `version ${inForce}`;
  rows.push(['in force', inForce === null ? 'the device has said nothing yet' : inForceText]);
  for (const reason of reasonsOf(reports.at(-1))) rows.push(['reason', reason]);
  rows.push(...wishLines(wishes));
  return linesText(rows, '');
}

/** Where the newest state stands, in words. */
function deliveryText({ wanted, delivery }: Pick<Config, 'wanted' | 'delivery'>): string {
  const { standing, reports } = wanted!;
  const last = reports.at(-1);
  if (standing === 'expired' && last?.outcome !== 'expired') {
    const told = last === undefined ? 'it has never answered' : 'it has not said so yet';
    return `expired at ${time(wanted!.expiresMs)}: then the device is as its owner has it; ${told}`;
  }
  if (standing !== 'waiting' && last !== undefined) {
    return `${said(standing)} at ${time(last.atMs)}, entry ${last.entry} of the evidence log`;
  }
  if (standing !== 'waiting') return said(standing);
  if (delivery.problem !== null) return `not sent: ${delivery.problem.message}`;
  if (delivery.connected === false) return 'the device is not connected; it is sent when it is';
  return delivery.connected === null ? 'to be sent' : 'sent, no answer yet';
}

function reasonsOf(report: Report | undefined): string[] {
  if (report === undefined) return [];
  const more = report.more > 0 ? [`and ${report.more} more`] : [];
  return [...(report.code === null ? [] : [report.code]), ...report.reasons, ...more];
}

function said(standing: string): string {
  return standing === 'rolled-back' ? 'taken back by the device' : standing;
}

function linesText(rows: readonly (readonly [string, string])[], indent: string): string {
  const width = Math.max(0, ...rows.map(([name]) => printable(name).length)) + 2;
  const line = ([name, value]: readonly [string, string]) =>
    `${indent}${printable(name).padEnd(width)}${printable(value)}\n`;
  return rows.map(line).join('');
}

function labelOf({ device, name }: DeviceName): string {
  return name === null ? device : `${printable(name)} (${device})`;
}

function pathOf({ device }: DeviceName): string {
  return `/v1/devices/${encodeURIComponent(device)}/config`;
}

function time(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}
