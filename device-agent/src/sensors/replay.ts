/**
 * Plays a file of recorded measurements as if they were taken now. Tagged `replay`, so that nobody pays
 * for it.
 *
 * A row of time t is emitted at start + (t − t0) / speed and carries that instant. The position in the
 * file survives a restart; the clock goes on, so time never goes back. With `loop`, the file begins again
 * one row distance after its end. Missing markers and cells that are no numbers yield no reading.
 */

import { isAbsolute, join } from 'node:path';
import { sleepUntil } from '../clock.ts';
import { readIfPresent, replaceFile } from '../durable-file.ts';
import { AgentError, reasonOf } from '../errors.ts';
import { flag, integer, list, numberAbove, oneOf, section, text } from '../schema.ts';
import { csvRows } from './csv-rows.ts';
import { parseRowTime, TIME_FORMATS, type TimeFormat } from './row-time.ts';
import type { Reading, SensorContext, SensorDriver } from './sensor.ts';

/** How often the position is written down, ms: at most this much is played twice after a crash. */
const SAVE_EVERY_MS = 60_000;

/** Decimal, as data files have it: no hexadecimal, no decimal comma. */
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;

interface ReplayColumn {
  readonly column: string;
  readonly metric: string;
  readonly unit: string;
  readonly resolution?: number | undefined;
}

interface ReplayOptions {
  readonly file: string;
  readonly separator: string;
  readonly time: {
    readonly column: string;
    readonly timeColumn?: string | undefined;
    readonly format: TimeFormat;
  };
  readonly columns: readonly ReplayColumn[];
  readonly missing: readonly string[];
  readonly speed: number;
  readonly loop: boolean;
  readonly skipRows: number;
}

interface Row {
  readonly timeMs: number;
  readonly readings: readonly Reading[];
}

export const replayDriver: SensorDriver<ReplayOptions> = {
  source: 'replay',
  options: section<ReplayOptions>({
    file: text({ is: 'the name of a CSV file', byDefault: null }),
    separator: text({ pattern: /^[^"\r\n]$/, is: 'one character', byDefault: ',' }),
    time: section({
      column: text({ is: 'the name of a column', byDefault: 'timestamp' }),
      timeColumn: text({ is: 'the name of a column', byDefault: undefined }),
      format: oneOf(TIME_FORMATS, 'iso'),
    }),
    columns: list(
      section<ReplayColumn>({
        column: text({ is: 'the name of a column', byDefault: null }),
        metric: text({
          pattern: /^[A-Za-z0-9][A-Za-z0-9:._/-]{0,63}$/,
          is: 'a metric name',
          byDefault: null,
        }),
        unit: text({ pattern: /^\P{Cc}{0,32}$/u, is: 'a SenML unit', byDefault: '' }),
        resolution: numberAbove(0, undefined),
      }),
      { max: 64 },
    ),
    missing: list(text({ pattern: /^\P{Cc}{0,32}$/u, is: 'a quoted text', byDefault: null }), {
      max: 16,
    }),
    speed: numberAbove(0, 1),
    loop: flag(false),
    skipRows: integer({ min: 0, max: 2 ** 31, byDefault: 0 }),
  }),
  async create(context) {
    const { columns } = context.options;
    if (columns.length === 0) {
      throw new AgentError('ERR_AGENT_REPLAY', 'columns: expected at least one column');
    }
    return {
      kind: 'push',
      source: 'replay',
      metrics: columns.map(({ metric, unit, resolution }) => ({
        metric,
        unit,
        ...(resolution === undefined ? {} : { resolution }),
      })),
      run: (emit, signal) => play(context, emit, signal),
    };
  },
};

async function play(
  context: SensorContext<ReplayOptions>,
  emit: (sample: { bootMs: number; readings: readonly Reading[] }) => void,
  signal: AbortSignal,
): Promise<void> {
  const { options, clock, bootMs, log, profile } = context;
  const stateFile = join(context.dataDir, 'state', `replay-${profile}.json`);
  let resumeAfterMs = await loadPosition(stateFile);
  let position: number | undefined;
  let savedAtMs = bootMs();
  let lastBootMs = -1;
  const save = async (): Promise<void> => {
    if (position === undefined) return;
    savedAtMs = bootMs();
    const content = `${JSON.stringify({ afterMs: position })}\n`;
    await replaceFile(stateFile, content, { durable: false }).catch((error: unknown) =>
      log.warn('replay position not saved', { profile, reason: reasonOf(error) }),
    );
  };
  // The instant of the next row is nextBootMs + (its time − the last row's time) / speed.
  let anchor: { readonly timeMs: number; readonly bootMs: number } | undefined;
  let stepMs = 1000;
  try {
    for (;;) {
      let last: number | undefined;
      let played = 0;
      let outOfOrder = 0;
      for await (const row of fileRows(context)) {
        if (signal.aborted) return;
        if (resumeAfterMs !== undefined && row.timeMs <= resumeAfterMs) continue;
        if (last !== undefined && row.timeMs <= last) {
          outOfOrder += 1;
          continue;
        }
        if (last !== undefined) stepMs = row.timeMs - last;
        last = row.timeMs;
        anchor ??= { timeMs: row.timeMs, bootMs: Math.ceil(bootMs()) };
        const exact = anchor.bootMs + (row.timeMs - anchor.timeMs) / options.speed;
        const due = Math.max(Math.round(exact), lastBootMs + 1);
        await sleepUntil({ clock, now: bootMs, dueMs: due, signal });
        if (signal.aborted) return;
        if (row.readings.length > 0) emit({ bootMs: due, readings: row.readings });
        lastBootMs = due;
        position = row.timeMs;
        played += 1;
        if (bootMs() - savedAtMs >= SAVE_EVERY_MS) await save();
      }
      const resumed = resumeAfterMs !== undefined;
      resumeAfterMs = undefined;
      if (outOfOrder > 0) log.warn('replay rows out of order skipped', { profile, outOfOrder });
      if (played === 0 && !(resumed && options.loop)) {
        if (resumed) return;
        throw new AgentError('ERR_AGENT_REPLAY', `${options.file}: expected rows, got none`);
      }
      if (!options.loop) return;
      if (last !== undefined && anchor !== undefined) {
        const endBootMs = anchor.bootMs + (last - anchor.timeMs) / options.speed;
        const firstMs = await firstRowTime(context);
        anchor = { timeMs: firstMs, bootMs: Math.round(endBootMs + stepMs / options.speed) };
      }
    }
  } finally {
    await save();
  }
}

/** The rows of the file with a time; others are counted and skipped. */
async function* fileRows(context: SensorContext<ReplayOptions>): AsyncGenerator<Row> {
  const { options, log, profile } = context;
  const path = isAbsolute(options.file) ? options.file : join(context.dataDir, options.file);
  const missing = new Set(['', ...options.missing]);
  let header: ReadonlyMap<string, number> | undefined;
  let skip = options.skipRows;
  let untimed = 0;
  let cut = 0;
  let unreadable = 0;
  let used = 0;
  try {
    for await (const fields of csvRows(path, options.separator)) {
      if (header === undefined) {
        header = new Map(fields.map((name, at) => [name.trim(), at]));
        checkColumns(header, options);
        used = Math.max(...usedColumns(options).map((name) => header!.get(name)!));
        continue;
      }
      if (skip > 0) {
        skip -= 1;
        continue;
      }
      // A row with too few fields was cut, and the last that is there may be half a number.
      if (fields.length < header.size && fields.length - 1 <= used) {
        cut += 1;
        continue;
      }
      const cell = (name: string): string => (fields[header!.get(name)!] ?? '').trim();
      const { column, timeColumn, format } = options.time;
      const written =
        timeColumn === undefined ? cell(column) : `${cell(column)} ${cell(timeColumn)}`;
      const timeMs = parseRowTime(written, format);
      if (timeMs === undefined) {
        untimed += 1;
        continue;
      }
      const readings: Reading[] = [];
      for (const { column: name, metric } of options.columns) {
        const written = cell(name);
        if (missing.has(written)) continue;
        const value = NUMBER.test(written) ? Number(written) : Number.NaN;
        if (Number.isFinite(value)) readings.push({ metric, value });
        else unreadable += 1;
      }
      yield { timeMs, readings };
    }
  } catch (error) {
    if (error instanceof AgentError) throw error;
    throw new AgentError('ERR_AGENT_REPLAY', reasonOf(error), { cause: error });
  }
  if (cut > 0) log.warn('replay rows cut short skipped', { profile, rows: cut });
  if (unreadable > 0) log.warn('replay cells that are no numbers', { profile, cells: unreadable });
  if (untimed > 0) log.warn('replay rows without a time skipped', { profile, rows: untimed });
}

async function firstRowTime(context: SensorContext<ReplayOptions>): Promise<number> {
  for await (const row of fileRows(context)) return row.timeMs;
  throw new AgentError('ERR_AGENT_REPLAY', `${context.options.file}: expected rows, got none`);
}

function checkColumns(header: ReadonlyMap<string, number>, options: ReplayOptions): void {
  const absent = usedColumns(options).filter((name) => !header.has(name));
  if (absent.length === 0) return;
  throw new AgentError(
    'ERR_AGENT_REPLAY',
    `${options.file}: expected the columns ${absent.join(', ')}, got ${[...header.keys()].join(', ')}`,
  );
}

function usedColumns({ time, columns }: ReplayOptions): string[] {
  const { column, timeColumn } = time;
  return [column, ...(timeColumn ? [timeColumn] : []), ...columns.map((each) => each.column)];
}

async function loadPosition(file: string): Promise<number | undefined> {
  const bytes = await readIfPresent(file);
  if (bytes === undefined) return undefined;
  try {
    const { afterMs } = JSON.parse(Buffer.from(bytes).toString('utf8')) as { afterMs?: unknown };
    return typeof afterMs === 'number' && Number.isFinite(afterMs) ? afterMs : undefined;
  } catch {
    return undefined;
  }
}
