/**
 * A program of yours as a sensor: started without a shell at every interval, its output is the readings.
 *
 * The program gets PATH, HOME and LANG=C of the agent's environment and nothing else, no standard input, and
 * the data folder as its working folder.
 */

import { spawn } from 'node:child_process';
import { AgentError, reasonOf } from '../errors.ts';
import { integer, list, oneOf, section, text } from '../schema.ts';
import { metricSpec } from './metric-keys.ts';
import { parseJson, readingsOf, VALUE_KEYS, type ValueKeys } from './metric-value.ts';
import type { SensorContext, SensorDriver } from './sensor.ts';

/** Kept of what the program complains about. */
const MAX_COMPLAINT_CHARS = 200;

interface ExecOptions {
  readonly command: readonly string[];
  readonly timeoutMs: number;
  readonly maxBytes: number;
  readonly format: 'json' | 'lines' | 'number';
  readonly metrics: readonly ValueKeys[];
}

export const execDriver: SensorDriver<ExecOptions> = {
  source: 'sensor',
  options: (value, path, problems) => {
    const options = section<ExecOptions>({
      command: list(text({ pattern: /^[^\0]{0,1024}$/, is: 'a quoted text', byDefault: null }), {
        min: 1,
        max: 64,
      }),
      timeoutMs: integer({ min: 100, max: 29_000, byDefault: 10_000 }),
      maxBytes: integer({ min: 16, max: 1_048_576, byDefault: 65_536 }),
      format: oneOf(['json', 'lines', 'number'], 'json'),
      metrics: list(section<ValueKeys>(VALUE_KEYS), { min: 1, max: 256 }),
    })(value, path, problems);
    if (options.command[0] === '') {
      problems.push(`${path}.command[0]: expected the program, got ""`);
    }
    if (options.format === 'number' && options.metrics.length > 1) {
      problems.push(
        `${path}.metrics: expected one with format number, got ${options.metrics.length}`,
      );
    }
    return options;
  },
  async create(context) {
    const { options, reject } = context;
    return {
      kind: 'pull',
      source: 'sensor',
      metrics: options.metrics.map(metricSpec),
      async read(signal) {
        const output = await run(context, signal);
        const document = parseOutput(output, options.format, reject);
        const readings =
          document === undefined ? [] : readingsOf(document, options.metrics, reject);
        if (readings.length > 0) return readings;
        throw failure(options, 'printed none of the metrics');
      },
    };
  },
};

function parseOutput(
  output: string,
  format: ExecOptions['format'],
  reject: SensorContext['reject'],
): unknown {
  if (format === 'json') return parseJson(output, reject);
  if (format === 'number') return output.trim();
  const values: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const line of output.split('\n')) {
    const at = line.indexOf('=');
    if (at > 0) values[line.slice(0, at).trim()] = line.slice(at + 1).trim();
    else if (line.trim() !== '') reject('malformed', JSON.stringify(line.slice(0, 40)));
  }
  return values;
}

/** What the program prints. Rejects when it fails, takes too long or prints too much; then nothing of it is left. */
function run(context: SensorContext<ExecOptions>, signal?: AbortSignal): Promise<string> {
  const { options, clock, dataDir, reject } = context;
  const { PATH = '/usr/bin:/bin', HOME = dataDir } = process.env;
  return new Promise((resolve, rejectRun) => {
    const [program = '', ...args] = options.command;
    const child = spawn(program, args, {
      cwd: dataDir,
      env: { PATH, HOME, LANG: 'C' },
      stdio: ['ignore', 'pipe', 'pipe'],
      // A process group of its own, so that what it has started ends with it.
      detached: true,
    });
    // First of all: without a listener an error would be the agent's. With too many files open there are no streams.
    child.once('error', (error) => settle(() => rejectRun(failure(options, reasonOf(error)))));
    const chunks: Buffer[] = [];
    let length = 0;
    let complaint = '';
    const settle = (outcome: () => void): void => {
      clock.cancel(timer);
      signal?.removeEventListener('abort', stopped);
      child.stdout?.destroy();
      child.stderr?.destroy();
      outcome();
    };
    const giveUp = (why: string): void => {
      if (child.pid !== undefined) endGroup(child.pid);
      settle(() => rejectRun(failure(options, why)));
    };
    const stopped = (): void => giveUp('was stopped');
    const timer = clock.after(options.timeoutMs, () =>
      giveUp(`did not end within ${options.timeoutMs} ms`),
    );
    signal?.addEventListener('abort', stopped, { once: true });
    child.stdout?.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length <= options.maxBytes) {
        chunks.push(chunk);
        return;
      }
      reject('too-long', `more than ${options.maxBytes} bytes`);
      giveUp(`printed more than ${options.maxBytes} bytes`);
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      if (complaint.length < MAX_COMPLAINT_CHARS) complaint += chunk.toString('utf8');
    });
    child.once('close', (code, endedBy) => {
      // What it left running behind its back.
      if (child.pid !== undefined) endGroup(child.pid);
      settle(() => {
        if (code === 0) resolve(Buffer.concat(chunks).toString('utf8'));
        else {
          const said = complaint
            .replace(/[\p{Cc}\s]+/gu, ' ')
            .trim()
            .slice(0, MAX_COMPLAINT_CHARS);
          const ended = code === null ? `ended by ${endedBy}` : `ended with exit code ${code}`;
          rejectRun(failure(options, said === '' ? ended : `${ended}: ${said}`));
        }
      });
    });
    if (signal?.aborted) stopped();
  });
}

function endGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Nobody is left.
  }
}

function failure({ command }: ExecOptions, why: string): AgentError {
  return new AgentError('ERR_AGENT_SENSOR', `${command[0]}: ${why}`);
}
