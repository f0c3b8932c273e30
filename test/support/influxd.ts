/**
 * A real InfluxDB 1.x server for tests: own folders, free ports, always stopped.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findProgram } from '@fieldproof/bench/find-program';
import { freePorts } from '@fieldproof/bench/free-ports';
import { until } from './until.ts';

export interface Influxd {
  /** `http://127.0.0.1:port`. */
  readonly url: string;
  /** Stops the server and removes its folders. */
  stop(): Promise<void>;
  /** Kills it without warning, or asks it to end with SIGTERM; the folders stay. */
  kill(signal?: 'SIGKILL' | 'SIGTERM'): Promise<void>;
  /** Starts it again on the same port and folders after `kill`. */
  restart(): Promise<void>;
}

/** Path of the `influxd` program, undefined when it is not installed. */
export function findInfluxd(): string | undefined {
  return findProgram('influxd') ?? undefined;
}

/** Starts a server. `auth` makes it ask for the user `admin` with password `pass word/@`. */
export async function startInfluxd(options: { readonly auth?: boolean } = {}): Promise<Influxd> {
  const program = findInfluxd();
  if (program === undefined) throw new Error('influxd: expected it in PATH, got nothing');
  const folder = await mkdtemp(join(tmpdir(), 'influxd-'));
  const [rpc, http] = await freePorts(2);
  const config = join(folder, 'influxdb.conf');
  await writeFile(
    config,
    `reporting-disabled = true
bind-address = "127.0.0.1:${rpc}"
[meta]
dir = "${folder}/meta"
[data]
dir = "${folder}/data"
wal-dir = "${folder}/wal"
index-version = "tsi1"
query-log-enabled = false
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:${http}"
log-enabled = false
auth-enabled = ${options.auth === true}
`,
  );
  const url = `http://127.0.0.1:${http}`;
  let child = await start(program, config, url);
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await exited;
  };
  if (options.auth === true) {
    const q = `CREATE USER admin WITH PASSWORD 'pass word/@' WITH ALL PRIVILEGES`;
    await fetch(`${url}/query`, { method: 'POST', body: new URLSearchParams({ q }) });
  }
  return {
    url,
    async stop() {
      await end('SIGKILL');
      await rm(folder, { recursive: true, force: true });
    },
    kill: (signal = 'SIGKILL') => end(signal),
    async restart() {
      child = await start(program, config, url);
    },
  };
}

async function start(program: string, config: string, url: string): Promise<ChildProcess> {
  const child = spawn(program, ['run', '-config', config], { stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  child.stderr.on('data', (text) => {
    log = `${log}${text}`.slice(-4000);
  });
  // A test run that dies must not leave servers behind.
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('exit', () => process.off('exit', kill));
  const isUp = async () => {
    if (child.exitCode !== null) throw new Error(`influxd ended:\n${log}`);
    try {
      return (await fetch(`${url}/ping`)).ok;
    } catch {
      return false;
    }
  };
  try {
    await until(`influxd answers at ${url}`, isUp, { everyMs: 20 });
  } catch (error) {
    kill();
    throw error;
  }
  return child;
}
