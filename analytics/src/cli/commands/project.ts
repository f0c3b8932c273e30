/** `fieldproof project`: the projection without Node-RED, from the evidence into a store. */
import { join, resolve } from 'node:path';
import { ProjectRun, type ProjectStatus } from '../../project/project-run.ts';
import { httpLineSink, type LineSinkOptions } from '../../projection/line-sink.ts';
import { type ProgressReport, startProgressReport } from '../../projection/progress-report.ts';
import { type InfluxAddress, influxAddress } from '../../store/influx-address.ts';
import { apiClient, type CliIo } from '../api-client.ts';
import { errorLine } from '../error-line.ts';
import { publishedSize, tailSource, windowLengths, withTailOptions } from '../network-source.ts';
import type { AddCommand } from '../program.ts';
import { progressText, startProgress } from '../progress.ts';

const SIZE_MS = 2000;

const HELP = `
Tails the evidence log from a durable cursor and writes raw readings, and with --window their windows, into InfluxDB
(--influx-url, INFLUX_URL) or else into the embedded store of the control process. The cursor moves when the store has
confirmed; Ctrl-C ends it at once, and the next run goes on where this one stopped. Use it in place of the flows, or
beside them into another database; a state folder serves one run at a time and one store.

Examples:
  fieldproof project
  fieldproof project --influx-url http://127.0.0.1:8086 --window 1m --window 1h
  fieldproof project --once --json
`;

export const addProject: AddCommand = (program, { runLocal, io }) => {
  const command = withTailOptions(
    program.command('project').description('write the evidence into a store, without Node-RED'),
  )
    .option('--influx-url <address>', 'InfluxDB to write to')
    .option(
      '--database <name>',
      'its database; by default the path of the address, else fieldproof',
    )
    .option('--window <length>', 'also windows of 10s, 1m, 1h, …; repeatable', collect, [])
    .option('--once', 'end at the present end of the log')
    .option('--state <folder>', 'folder of the cursor; by default project in the data folder')
    .option('--url <address>', 'API address of the control process')
    .option('--token-file <path>', 'file of a token with the scope write')
    .option('--data <folder>', 'data folder of npm start', 'data');
  command.addHelpText('after', HELP);
  runLocal(command, async ({ options, json }) => {
    const tail = await tailSource(io, options);
    const control = await controlOf(io, options);
    const influx = influxOf(io, options);
    if (influx === undefined && control instanceof Error) throw control;
    const folder = resolve(io.cwd, String(options.state ?? join(String(options.data), 'project')));
    let notify: (text: string) => void = (text) => io.err(`${text}\n`);
    const run = await ProjectRun.start({
      name: 'project',
      folder,
      tail,
      sink: httpLineSink(influx ?? (control as Control)),
      windowsMs: windowLengths(options.window as string[]),
      once: options.once === true,
      onProblem: (error) => notify(errorLine(error)),
    });
    let size = await publishedSize(io, tail);
    const sizes = setInterval(() => {
      void publishedSize(io, tail).then((now) => {
        size = now ?? size;
      });
    }, SIZE_MS);
    const progress = startProgress(io, () => progressOf(run.status, size));
    notify = progress.note;
    let report: ProgressReport | undefined;
    if (!(control instanceof Error)) {
      const status = () => run.status.projection;
      report = startProgressReport({ ...control, name: 'project', status });
    }
    const interrupted = io.interrupted?.();
    interrupted?.addEventListener('abort', () => void run.stop());
    try {
      await run.ended;
    } finally {
      clearInterval(sizes);
      report?.stop();
      await run.stop();
      progress.stop();
    }
    json(summaryOf(run.status));
  });
};

/** The control process with its token, or why it cannot be used. */
type Control = LineSinkOptions & { readonly token: () => Promise<string> };

async function controlOf(
  io: CliIo,
  options: Readonly<Record<string, unknown>>,
): Promise<Control | Error> {
  try {
    const { url, token } = await apiClient(io, options);
    return { url, token: async () => token };
  } catch (error) {
    return error as Error;
  }
}

/** InfluxDB as flags or environment name it. */
export function influxOf(
  io: CliIo,
  options: Readonly<Record<string, unknown>>,
): InfluxAddress | undefined {
  const url = options.influxUrl ?? io.env.INFLUX_URL;
  if (typeof url !== 'string' || url === '') return undefined;
  return influxAddress(url, { database: String(options.database ?? '') });
}

export function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}

export function progressOf(status: ProjectStatus, size: number | undefined): string {
  const { projection, lines, refused, unstoredRows } = status;
  const { cursorIndex, oldestUnstoredMs, waiting, connected } = projection;
  return progressText({
    index: cursorIndex,
    size,
    lines,
    lagMs: oldestUnstoredMs === undefined ? undefined : Math.max(0, Date.now() - oldestUnstoredMs),
    extra: [
      ...(waiting > 0 ? [`${waiting} without time`] : []),
      ...(unstoredRows > 0 ? [`${unstoredRows} window rows on their way`] : []),
      ...(refused > 0 ? [`${refused} lines refused and set aside`] : []),
      ...(connected || projection.isAtEnd ? [] : ['broker does not answer']),
    ],
  });
}

/** What `--json` prints. */
export function summaryOf({ projection, lines, refused }: ProjectStatus) {
  const { cursorIndex, waiting, unprojectable, erased, readings, deadLetters } = projection;
  return {
    nextIndex: cursorIndex,
    ...{ lines, readings, refused, waiting, erased, deadLetters, unprojectable },
  };
}
