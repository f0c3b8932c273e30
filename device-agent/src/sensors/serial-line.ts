/**
 * Lines of text from a tty, a fifo or a file that grows: an Arduino, a smart meter, a log.
 *
 * A line is JSON, CSV, or what a regular expression with named groups finds in it. A tty gets its speed from stty.
 * Leaves out binary protocols.
 */

import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { sleepUntil } from '../clock.ts';
import { AgentError, codeOf, reasonOf } from '../errors.ts';
import { type Check, integer, list, oneOf, section, shown, text } from '../schema.ts';
import { LineSplitter } from './line-splitter.ts';
import { metricSpec } from './metric-keys.ts';
import { parseJson, readingsOf, VALUE_KEYS, type ValueKeys } from './metric-value.ts';
import type { SensorContext, SensorDriver } from './sensor.ts';

const STTY_TIMEOUT_MS = 5000;
/** Between two looks: a tty's buffer holds 4,096 bytes, 40 ms at 921,600 baud. */
const BUSY_PAUSE_MS = 20;
const IDLE_PAUSE_MS = 100;
const READ_BYTES = 16_384;

interface SerialLineOptions {
  readonly file: string;
  readonly baud: number;
  readonly format: 'json' | 'csv' | 'regex';
  readonly pattern?: RegExp | undefined;
  readonly separator: string;
  readonly maxLineBytes: number;
  readonly metrics: readonly ValueKeys[];
}

const regularExpression: Check<RegExp | undefined> = (value, path, problems) => {
  if (value === undefined) return undefined;
  try {
    if (typeof value === 'string' && value.length <= 1024) return new RegExp(value, 'u');
  } catch {
    // Told below.
  }
  problems.push(`${path}: expected a regular expression, got ${shown(value)}`);
  return undefined;
};

export const serialLineDriver: SensorDriver<SerialLineOptions> = {
  source: 'sensor',
  options: (value, path, problems) => {
    const options = section<SerialLineOptions>({
      file: text({ is: 'a tty, a fifo or a file', byDefault: null }),
      baud: integer({ min: 0, max: 4_000_000, byDefault: 0 }),
      format: oneOf(['json', 'csv', 'regex'], 'json'),
      pattern: regularExpression,
      separator: text({ pattern: /^[^\r\n]$/, is: 'one character', byDefault: ',' }),
      maxLineBytes: integer({ min: 16, max: 65_536, byDefault: 4096 }),
      metrics: list(section<ValueKeys>(VALUE_KEYS), { min: 1, max: 256 }),
    })(value, path, problems);
    if ((options.format === 'regex') !== (options.pattern !== undefined)) {
      const { format, pattern } = options;
      const got = `${pattern === undefined ? 'none' : 'one'} with format ${format}`;
      problems.push(`${path}.pattern: expected with format regex, and only there, got ${got}`);
    }
    return options;
  },
  async create(context) {
    const { options, bootMs, reject } = context;
    return {
      kind: 'push',
      source: 'sensor',
      metrics: options.metrics.map(metricSpec),
      run: (emit, signal) =>
        follow(context, signal, (line) => {
          const document = parseLine(line, options, reject);
          if (document === undefined) return;
          const readings = readingsOf(document, options.metrics, reject);
          if (readings.length > 0) emit({ bootMs: Math.floor(bootMs()), readings });
        }),
    };
  },
};

/** A line as a document; undefined for an empty one, and for what cannot be read, which is counted. */
function parseLine(
  line: string,
  { format, pattern, separator }: SerialLineOptions,
  reject: SensorContext['reject'],
): unknown {
  if (line.trim() === '') return undefined;
  if (format === 'json') return parseJson(line, reject);
  if (format === 'csv') return line.split(separator).map((field) => field.trim());
  const groups = pattern?.exec(line)?.groups;
  if (groups === undefined) reject('malformed', `no match: ${JSON.stringify(line.slice(0, 40))}`);
  return groups;
}

/** Reads lines until the signal is given. */
async function follow(
  context: SensorContext<SerialLineOptions>,
  signal: AbortSignal,
  onLine: (line: string) => void,
): Promise<void> {
  const { options, dataDir, clock, bootMs, reject } = context;
  const path = isAbsolute(options.file) ? options.file : join(dataDir, options.file);
  const fail = (why: unknown): AgentError =>
    new AgentError('ERR_AGENT_SENSOR', `${options.file}: ${reasonOf(why)}`);
  const pause = (ms: number) => sleepUntil({ clock, now: bootMs, dueMs: bootMs() + ms, signal });
  let file: FileHandle | undefined;
  try {
    // Neither a fifo without a writer nor a modem without a carrier holds it up.
    const { O_RDONLY, O_NONBLOCK, O_NOCTTY } = constants;
    file = await open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    const kind = await file.stat();
    if (options.baud > 0) await setSpeed(path, options.baud);
    // What a file has already was measured nobody knows when.
    let position = kind.isFile() ? kind.size : null;
    const splitter = new LineSplitter(options.maxLineBytes, {
      onTooLong: () => reject('too-long', `a line of more than ${options.maxLineBytes} bytes`),
      midLine: kind.isCharacterDevice() || (kind.isFile() && !(await endsLine(file, kind.size))),
    });
    const buffer = Buffer.alloc(READ_BYTES);
    while (!signal.aborted) {
      const length = await readSome(file, buffer, position);
      if (length > 0) {
        if (position !== null) position += length;
        for (const line of splitter.take(buffer.subarray(0, length))) onLine(line);
        // A fast writer must not keep the agent from everything else.
        await pause(length === READ_BYTES ? 1 : BUSY_PAUSE_MS);
        continue;
      }
      if (length === 0 && kind.isCharacterDevice()) throw new Error('was unplugged');
      if (position !== null) {
        const now = await stat(path);
        if (now.ino !== kind.ino || now.size < position) throw new Error('was replaced');
      }
      await pause(IDLE_PAUSE_MS);
    }
  } catch (error) {
    throw fail(error);
  } finally {
    await file?.close().catch(() => {});
  }
}

/** Bytes read; 0 at the end, −1 when there is nothing yet. */
async function readSome(file: FileHandle, into: Buffer, position: number | null): Promise<number> {
  try {
    return (await file.read(into, 0, into.length, position)).bytesRead;
  } catch (error) {
    if (codeOf(error) === 'EAGAIN') return -1;
    throw error;
  }
}

async function endsLine(file: FileHandle, size: number): Promise<boolean> {
  if (size === 0) return true;
  const last = Buffer.alloc(1);
  await file.read(last, 0, 1, size - 1);
  return last[0] === 10;
}

function setSpeed(path: string, baud: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const args = ['-F', path, String(baud), 'raw', '-echo', 'clocal'];
    execFile('stty', args, { timeout: STTY_TIMEOUT_MS, maxBuffer: 4096 }, (error, _out, said) => {
      if (error === null) resolve();
      else reject(new Error(said.trim().split('\n')[0]?.slice(0, 200) || reasonOf(error)));
    });
  });
}
