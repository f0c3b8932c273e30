/** `fieldproof rebuild`: the time-series store once more, from the evidence. */
import { access, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { AnalyticsError } from '../../errors.ts';
import { ProjectRun, type ProjectStatus } from '../../project/project-run.ts';
import { saveCursor } from '../../projection/cursor-file.ts';
import { httpLineSink, type LineSink, type LineSinkOptions } from '../../projection/line-sink.ts';
import { emptyState } from '../../projection/projector-state.ts';
import { dropDatabase, measurementsOf } from '../../rebuild/influx-database.ts';
import type { InfluxAddress } from '../../store/influx-address.ts';
import { type ApiClient, apiClient, type CliIo } from '../api-client.ts';
import { errorLine } from '../error-line.ts';
import { publishedSize, tailSource, windowLengths, withTailOptions } from '../network-source.ts';
import type { AddCommand, LocalInvocation } from '../program.ts';
import { type Progress, startProgress } from '../progress.ts';
import { collect, influxOf, progressOf, summaryOf } from './project.ts';

/** Of a run that is named `rebuild`. */
const CURSOR = 'rebuild.cursor';
const WINDOW_PROFILE = /_(\d+[smh])$/;

const HELP = `
Embedded store: the control process fills a second file, answers queries from the present one meanwhile, lets writes
wait for the last entries, and exchanges the two. Interrupted, it changes nothing; the next run begins anew. When the
present store has profiles that the evidence does not give (written by something else), it is kept; --force exchanges.

InfluxDB (--influx-url, INFLUX_URL): writes into --database, by default <source>_rebuilt, which must be empty or from an
interrupted run, which is continued. InfluxDB 1.x cannot rename a database, so nothing is exchanged: point readers to
the new one (start the network with its name in INFLUX_URL, then fill what came in between with fieldproof project --once
--influx-url …), or name the present one with --replace, which drops it first; it is then incomplete until the end.

Windows are those that the present store has (profiles that end with _1m and the like), unless --window says others.

Examples:
  fieldproof rebuild
  fieldproof rebuild --influx-url http://127.0.0.1:8086 --database fieldproof_2
  fieldproof rebuild --influx-url http://127.0.0.1:8086 --database fieldproof --replace
`;

type Options = LocalInvocation['options'];

export const addRebuild: AddCommand = (program, { runLocal, io }) => {
  const command = withTailOptions(
    program.command('rebuild').description('recreate the time-series store from the evidence'),
  )
    .option('--influx-url <address>', 'InfluxDB to write to; else the embedded store')
    .option('--source <name>', 'InfluxDB database in use; by default the path of the address')
    .option('--database <name>', 'database to write to; by default <source>_rebuilt')
    .option('--replace', 'drop that database first')
    .option('--window <length>', 'windows of 10s, 1m, 1h, …; repeatable', collect, [])
    .option('--force', 'exchange the embedded store although profiles would be missing')
    .option('--url <address>', 'API address of the control process')
    .option('--token-file <path>', 'file of a token with the scope admin')
    .option('--data <folder>', 'data folder of npm start', 'data');
  command.addHelpText('after', HELP);
  runLocal(command, async ({ options, json }) => {
    const influx = influxOf(io, { ...options, database: options.source });
    const status =
      influx === undefined
        ? await rebuildEmbedded(io, options)
        : await rebuildInflux(io, { options, source: influx });
    if (!json(summaryOf(status))) io.out('rebuilt\n');
  });
};

async function rebuildEmbedded(io: CliIo, options: Options): Promise<ProjectStatus> {
  const client = await apiClient(io, options);
  const folder = stateFolder(io, options, 'embedded');
  await rm(folder, { recursive: true, force: true });
  const { id, profiles } = await client.json<{ id: string; profiles: string[] }>(
    'POST',
    '/v1/rebuild',
  );
  // Another rebuild that begins now has a store of its own.
  const token = async () => client.token;
  const sink = { url: `${client.url}/v1/rebuild`, params: { id }, token };
  const windows = windowsOf(options, profiles);
  const run = { options, folder, sink, windows, interrupted: io.interrupted?.() };
  try {
    // The first run takes most of it; the second what came meanwhile, while writes wait.
    const most = await runOnce(io, run);
    await client.json('POST', `/v1/rebuild/hold?id=${id}`);
    const rest = await runOnce(io, run);
    await commit(client, { id, force: options.force === true });
    return together(most, rest);
  } catch (error) {
    await client.json('DELETE', `/v1/rebuild?id=${id}`).catch(() => {});
    throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Both runs as one: places of the second, counts of both. */
function together(first: ProjectStatus, second: ProjectStatus): ProjectStatus {
  const [a, b] = [first.projection, second.projection];
  const unprojectable: Record<string, number> = { ...a.unprojectable };
  for (const [code, count] of Object.entries(b.unprojectable)) {
    unprojectable[code] = (unprojectable[code] ?? 0) + count;
  }
  return {
    ...second,
    lines: first.lines + second.lines,
    refused: first.refused + second.refused,
    projection: {
      ...b,
      unprojectable,
      readings: a.readings + b.readings,
      erased: a.erased + b.erased,
      deadLetters: a.deadLetters + b.deadLetters,
    },
  };
}

async function commit(
  client: ApiClient,
  { id, force }: { readonly id: string; readonly force: boolean },
): Promise<void> {
  await client.json('POST', `/v1/rebuild/commit?id=${id}${force ? '&force=true' : ''}`);
}

async function rebuildInflux(
  io: CliIo,
  { options, source }: { readonly options: Options; readonly source: InfluxAddress },
): Promise<ProjectStatus> {
  const { url } = source;
  const database = String(options.database ?? `${source.database}_rebuilt`);
  const folder = stateFolder(io, options, `influx-${encodeURIComponent(database)}`);
  const windows = windowsOf(options, await measurementsOf(source));
  if (options.replace === true) {
    await rm(folder, { recursive: true, force: true });
    await dropDatabase({ url, database });
  } else if (!(await isBegun(folder)) && (await measurementsOf({ url, database })).length > 0) {
    const what = `database ${database}: expected none or an empty one, got one with readings`;
    throw new AnalyticsError('ERR_REBUILD_TARGET', what);
  }
  // Says that what is in the database from now on is this rebuild's.
  if (!(await isBegun(folder))) {
    await saveCursor(join(folder, CURSOR), { index: 0, state: emptyState() });
  }
  const status = await runOnce(io, {
    ...{ options, folder, windows, sink: { url, database } },
    interrupted: io.interrupted?.(),
  });
  await rm(folder, { recursive: true, force: true });
  return status;
}

async function runOnce(
  io: CliIo,
  run: {
    readonly options: Options;
    readonly folder: string;
    readonly sink: LineSinkOptions;
    readonly windows: readonly number[];
    readonly interrupted: AbortSignal | undefined;
  },
): Promise<ProjectStatus> {
  const tail = await tailSource(io, run.options);
  const size = await publishedSize(io, tail);
  let progress: Progress | undefined;
  // A control process that was started again knows of no rebuild: no later attempt could succeed.
  const gone = new AbortController();
  const lines = httpLineSink(run.sink);
  const sink: LineSink = async (body, signal) => {
    try {
      await lines(body, signal);
    } catch (error) {
      if ((error as AnalyticsError).code !== 'ERR_REBUILD_NONE') throw error;
      gone.abort(error);
      // Of the lines it says nothing: they are not refused.
      const { message } = error as AnalyticsError;
      throw new AnalyticsError('ERR_STORE_UNAVAILABLE', message, { cause: error });
    }
  };
  const project = await ProjectRun.start({
    ...{ name: 'rebuild', folder: run.folder, tail, once: true, windowsMs: run.windows },
    sink,
    onProblem: (error) => progress?.note(errorLine(error)),
  });
  progress = startProgress(io, () => progressOf(project.status, size));
  const { interrupted } = run;
  if (interrupted?.aborted) void project.stop();
  interrupted?.addEventListener('abort', () => void project.stop());
  if (gone.signal.aborted) void project.stop();
  gone.signal.addEventListener('abort', () => void project.stop());
  try {
    await project.ended;
  } finally {
    await project.stop();
    progress.stop();
  }
  if (gone.signal.aborted) throw gone.signal.reason;
  if (interrupted?.aborted) {
    throw new AnalyticsError('ERR_REBUILD_INTERRUPTED', 'rebuild: interrupted, run it again');
  }
  return project.status;
}

function windowsOf(options: Options, profiles: readonly string[]): number[] {
  const given = options.window as string[];
  if (given.length > 0) return windowLengths(given);
  const names = new Set(profiles);
  return windowLengths(
    profiles.flatMap((profile) => {
      const [suffix, length] = WINDOW_PROFILE.exec(profile) ?? [];
      return suffix !== undefined && names.has(profile.slice(0, -suffix.length)) ? [length!] : [];
    }),
  );
}

function stateFolder(io: CliIo, options: Options, name: string): string {
  return resolve(io.cwd, join(String(options.data), 'rebuild', name));
}

async function isBegun(folder: string): Promise<boolean> {
  return access(join(folder, CURSOR)).then(
    () => true,
    () => false,
  );
}
