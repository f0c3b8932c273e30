/** `fieldproof devices`, `latest` and `query`: readings. */
import { rawProfiles } from '../../derived-profiles.ts';
import { readingText } from '../../reading-text.ts';
import type { ApiClient } from '../api-client.ts';
import type { AddCommand } from '../program.ts';
import { ageText, type Cell, formatTable } from '../table.ts';

/** Significant digits of a value in a table. */
const DIGITS = 7;

interface Device {
  readonly device: string;
  readonly name: string | null;
  readonly group: string | null;
  readonly source: string | null;
  readonly online: boolean | null;
  readonly lastReadingMs: number | null;
  readonly count: number;
  readonly profiles: readonly string[] | null;
  readonly metrics: readonly { readonly profile: string }[];
}

interface Devices {
  readonly nowMs: number;
  readonly broker: { readonly ok: boolean; readonly detail: string };
  readonly devices: readonly Device[];
}

interface Value {
  readonly device: string;
  readonly profile: string;
  readonly metric: string;
  readonly timeMs: number;
  readonly value: number | string | boolean;
  readonly unit: string | null;
}

interface Answer {
  readonly series: readonly {
    readonly device?: string;
    readonly timesMs: readonly number[];
    readonly values: readonly Cell[];
  }[];
}

export const addDevices: AddCommand = (program, { run, io }) => {
  const command = program
    .command('devices')
    .description('list devices, newest reading and presence');
  command.addHelpText('after', '\nExamples:\n  fieldproof devices\n  fieldproof devices --json\n');
  run(command, async ({ client, json }) => {
    const answer = await client.json<Devices>('GET', '/v1/devices');
    if (json(answer)) return;
    if (!answer.broker.ok)
      io.err(`note: names and presence are unknown (${answer.broker.detail})\n`);
    const sorted = answer.devices.toSorted((a, b) => byText(a.name ?? '', b.name ?? ''));
    const rows = sorted.map((d) => [
      ...[d.name, d.group, d.source],
      d.online === null ? null : d.online ? 'yes' : 'no',
      d.lastReadingMs === null ? null : `${ageText(answer.nowMs - d.lastReadingMs)} ago`,
      ...[d.count, d.device],
    ]);
    const header = ['NAME', 'GROUP', 'SOURCE', 'ONLINE', 'NEWEST', 'VALUES', 'DEVICE'];
    io.out(formatTable(header, rows));
  });
};

export const addLatest: AddCommand = (program, { run, io }) => {
  const command = program
    .command('latest')
    .description('newest value of every metric that devices send')
    .option('--device <id>', 'one device')
    .option('--profile <name>', 'one profile, also a derived one')
    .option('--metric <name>', 'one metric')
    .option('--all', 'derived profiles too: windows, as air_1m')
    .option('--ids', 'ids of devices instead of names');
  command.addHelpText(
    'after',
    '\nValues are rounded and their units scaled for reading; --json has them as they are, all of them.\n' +
      '\nExamples:\n  fieldproof latest\n  fieldproof latest --profile environment --metric temperature\n' +
      '  fieldproof latest --all --ids\n',
  );
  run(command, async ({ client, json, options }) => {
    const path = withQuery('/v1/latest', options, ['device', 'profile', 'metric']);
    const answer = await client.json<{ nowMs: number; values: readonly Value[] }>('GET', path);
    if (json(answer)) return;
    const { devices } = await client.json<Devices>('GET', '/v1/devices');
    const known = new Map(devices.map((device) => [device.device, device]));
    const all = options.all === true || options.profile !== undefined;
    const shown = all ? answer.values : answer.values.filter(isRaw(devices));
    const called = (id: string) => (options.ids === true ? id : (known.get(id)?.name ?? id));
    const sorted = shown.toSorted((a, b) => byText(called(a.device), called(b.device)));
    const rows = sorted.map((v) => {
      const { value, unit } = readingText(v.value, v.unit, { digits: DIGITS });
      const age = `${ageText(answer.nowMs - v.timeMs)} ago`;
      return [called(v.device), v.profile, v.metric, value, unit === '' ? null : unit, age];
    });
    const header = [options.ids === true ? 'DEVICE' : 'NAME', 'PROFILE', 'METRIC', 'VALUE', 'UNIT'];
    io.out(formatTable([...header, 'AGE'], rows, { right: ['VALUE'] }));
    const hidden = answer.values.length - shown.length;
    if (hidden > 0) io.err(`note: derived values not shown: ${hidden}; --all shows them\n`);
  });
};

/** By name as people count: node-9 before node-10. */
const byText = (a: string, b: string): number => a.localeCompare(b, 'en', { numeric: true });

/** Whether a value is of a profile that its device sends itself. */
function isRaw(devices: readonly Device[]): (value: Value) => boolean {
  const raw = new Map(
    devices.map(({ device, metrics, profiles }) => {
      const names = [...new Set(metrics.map(({ profile }) => profile))];
      return [device, rawProfiles(names, profiles)];
    }),
  );
  // What came between the two answers is shown rather than lost.
  return ({ device, profile }) => raw.get(device)?.has(profile) ?? true;
}

export const addQuery: AddCommand = (program, { run, io }) => {
  const command = program
    .command('query')
    .description('one metric over a time range')
    .argument('<profile>', 'profile, for example environment')
    .argument('<metric>', 'metric, for example temperature')
    .option('--device <id>', 'one device; all when absent')
    .option('--from <time>', 'RFC 3339, Unix ms, or before now: -90s, -1h, -7d', '-1h')
    .option('--to <time>', 'end, exclusive; as --from', 'now')
    .option('--bucket <width>', 'average over buckets of 10s, 1m, 1h, …; raw values when absent')
    .option('--aggregate <how>', 'mean, min, max, sum, count, first or last; with --bucket')
    .option('--group <by>', 'device: a series each; none: all in one', 'device')
    .option('--limit <points>', 'most points; more are an error')
    .option('--csv', 'print CSV');
  command.addHelpText(
    'after',
    '\nExamples:\n  fieldproof query environment temperature --from -15m\n' +
      '  fieldproof query environment temperature --from -24h --bucket 1h --aggregate max\n' +
      '  fieldproof query environment temperature --from 2026-11-20T00:00:00Z --csv > day.csv\n',
  );
  const names = ['device', 'from', 'to', 'bucket', 'aggregate', 'group', 'limit'];
  run(command, async ({ client, json, options, args }) => {
    const [profile = '', metric = ''] = args;
    const path = withQuery('/v1/query', { ...options, profile, metric }, [
      ...['profile', 'metric', ...names],
    ]);
    if (options.csv === true) {
      io.out(await client.text(path, 'text/csv'));
      return;
    }
    const answer = await client.json<Answer>('GET', path);
    if (json(answer)) return;
    const rows = answer.series.flatMap(({ device, timesMs, values }) =>
      timesMs.map((time, i) => [new Date(time).toISOString(), device ?? null, values[i] ?? null]),
    );
    io.out(formatTable(['TIME', 'DEVICE', 'VALUE'], rows));
  });
};

/** `path` with those of `options` that are set. */
function withQuery(
  path: Parameters<ApiClient['text']>[0],
  options: Readonly<Record<string, unknown>>,
  names: readonly string[],
): string {
  const query = new URLSearchParams();
  for (const name of names) {
    if (typeof options[name] === 'string') query.set(name, options[name]);
  }
  return query.size === 0 ? path : `${path}?${query}`;
}
