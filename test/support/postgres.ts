/** A PostgreSQL server for a suite: that of DATABASE_URL, or one of its own. */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe } from '@jest/globals';
import pg from 'pg';
import { until } from './until.ts';

export interface PostgresServer {
  /** Makes an empty database. @returns its URL. */
  database(): Promise<string>;
}

/** A `describe` with one server for all of it; skipped, or with REQUIRE_SERVICES=1 failed, without one. */
export function describeWithPostgres(name: string, body: (server: PostgresServer) => void): void {
  const { DATABASE_URL: given, REQUIRE_SERVICES } = process.env;
  const bin = findPostgres();
  if (given === undefined && bin === null) {
    process.stderr.write(`SKIPPED: ${name}: needs DATABASE_URL or initdb\n`);
    if (REQUIRE_SERVICES !== '1') {
      describe.skip(name, () => body({ database: async () => '' }));
      return;
    }
  }
  describe(name, () => {
    let own: Awaited<ReturnType<typeof startPostgres>> | null = null;
    const made: string[] = [];
    beforeAll(async () => {
      if (given === undefined) own = await startPostgres(bin!);
    });
    afterAll(async () => {
      if (own !== null) own.stop();
      else for (const database of made) await ask(given!, `drop database ${database} with (force)`);
    });
    body({
      database: async () => {
        const url = new URL(own?.url ?? given!);
        const database = `test_${process.pid}_${made.length}`;
        await ask(url.href, `create database ${database}`);
        made.push(database);
        url.pathname = `/${database}`;
        return url.href;
      },
    });
  });
}

/** Asks as another client. */
export async function ask(url: string, text: string): Promise<readonly Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

function findPostgres(): string | null {
  // As root it must be started as another user.
  if (process.getuid?.() === 0 && !onPath('runuser')) return null;
  for (const version of ['17', '16', '15', '14']) {
    const bin = `/usr/lib/postgresql/${version}/bin`;
    if (existsSync(join(bin, 'initdb'))) return bin;
  }
  return null;
}

function onPath(program: string): boolean {
  const folders = (process.env.PATH ?? '').split(delimiter);
  return folders.some((folder) => existsSync(join(folder, program)));
}

/** A server of its own on a free port; PostgreSQL refuses to run as root, so there it runs as `postgres`. */
async function startPostgres(bin: string) {
  const folder = mkdtempSync(join(tmpdir(), 'fieldproof-postgres-'));
  chmodSync(folder, 0o777);
  const data = join(folder, 'data');
  const prefix = process.getuid?.() === 0 ? ['runuser', '-u', 'postgres', '--'] : [];
  const run = (command: readonly string[]) => {
    const [program, ...rest] = [...prefix, ...command];
    execFileSync(program!, rest, { stdio: 'ignore', cwd: folder });
  };
  run([join(bin, 'initdb'), '-D', data, '-U', 'test', '-A', 'trust', '--no-sync']);
  const port = await freePort();
  const [program, ...rest] = [
    ...prefix,
    join(bin, 'postgres'),
    ...['-D', data, '-p', String(port), '-k', folder, '-c', 'fsync=off'],
    ...['-c', 'listen_addresses=127.0.0.1'],
  ];
  const child: ChildProcess = spawn(program!, rest, { stdio: 'ignore', cwd: folder });
  const url = `postgres://test@127.0.0.1:${port}/postgres`;
  const isUp = async () => {
    if (child.exitCode !== null) throw new Error(`postgres ended with ${child.exitCode}`);
    try {
      return await ask(url, 'select 1');
    } catch {
      return null;
    }
  };
  await until('PostgreSQL answers', isUp, { everyMs: 20 });
  return {
    url,
    stop: () => {
      run([join(bin, 'pg_ctl'), '-D', data, '-m', 'immediate', 'stop']);
      child.kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
