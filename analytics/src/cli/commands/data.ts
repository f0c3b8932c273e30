/** `fieldproof devices`, `latest` and `query`: readings. */
import type { ApiClient } from '../api-client.ts';
import type { AddCommand } from '../program.ts';
import { ageText, type Cell, formatTable } from '../table.ts';

interface Device {
  readonly device: string;
  readonly name: string | null;
  readonly group: string | null;
  readonly source: string | null;
  readonly online: boolean | null;
  readonly lastReadingMs: number | null;
  readonly count: number;
}

interface Value {
  readonly device: string;
  readonly profile: string;
  readonly metric: string;
  readonly timeMs: number;
  readonly value: Cell;
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
    const answer = await client.json<{
      nowMs: number;
      broker: { ok: boolean; detail: string };
      devices: readonly Device[];
    }>('GET', '/v1/devices');
    if (json(answer)) return;
    if (!answer.broker.ok)
      io.err(`note: names and presence are unknown (${answer.broker.detail})\n`);
    const rows = answer.devices.map((d) => [
      ...[d.device, d.name, d.group, d.source],
      d.online === null ? null : d.online ? 'yes' : 'no',
      d.lastReadingMs === null ? null : `${ageText(answer.nowMs - d.lastReadingMs)} ago`,
      d.count,
    ]);
    const header = ['DEVICE', 'NAME', 'GROUP', 'SOURCE', 'ONLINE', 'NEWEST', 'VALUES'];
    io.out(formatTable(header, rows));
  });
};

export const addLatest: AddCommand = (program, { run, io }) => {
  const command = program
    .command('latest')
    .description('newest value of every metric')
    .option('--device <id>', 'one device')
    .option('--profile <name>', 'one profile')
    .option('--metric <name>', 'one metric');
  command.addHelpText(
    'after',
    '\nExamples:\n  fieldproof latest\n  fieldproof latest --profile environment --metric temperature\n',
  );
  run(command, async ({ client, json, options }) => {
    const path = withQuery('/v1/latest', options, ['device', 'profile', 'metric']);
    const answer = await client.json<{ nowMs: number; values: readonly Value[] }>('GET', path);
    if (json(answer)) return;
    const rows = answer.values.map((v) => [
      ...[v.device, v.profile, v.metric, v.value, v.unit],
      `${ageText(answer.nowMs - v.timeMs)} ago`,
    ]);
    io.out(formatTable(['DEVICE', 'PROFILE', 'METRIC', 'VALUE', 'UNIT', 'AGE'], rows));
  });
};

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
