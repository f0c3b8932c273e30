/** `npm start` as a person meets it: what it prints, what it answers, how it ends and how it fails. */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { runMain, runProgram, startNetwork, type TestNetwork, until } from '../support/network.ts';

const FIELDPROOF = 'analytics/bin/fieldproof.mjs';

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function ended(args: readonly string[], env: Record<string, string> = {}): Promise<Outcome> {
  const child = runMain(args, { env, fromSource: true });
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const code = await new Promise<number | null>((done) => child.once('close', done));
  return { code, stdout, stderr };
}

function brokerStatus(dataDir: string): Promise<Outcome> {
  const args = ['status', '--json', '--data', dataDir];
  return runProgram('broker/bin/fieldproof-broker.mjs', args);
}

async function listening(): Promise<{ server: Server; port: number }> {
  const server = createServer((socket) =>
    socket.end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'),
  );
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return { server, port: (server.address() as { port: number }).port };
}

describe('npm start that cannot start', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'fieldproof-start-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  test('names the port that is taken', async () => {
    const { server, port } = await listening();
    try {
      const outcome = await ended(['--data', folder, '--port-base', String(port), '--no-demo']);
      expect(outcome.code).toBe(1);
      expect(outcome.stderr).toMatch(new RegExp(`ERR_PORT_TAKEN.*${port}`));
      expect(outcome.stderr).not.toMatch(/^\s+at /m);
    } finally {
      server.close();
    }
  });

  test('names the InfluxDB that does not answer, without its password', async () => {
    const { server, port } = await listening();
    server.close();
    const outcome = await ended(['--data', folder], {
      INFLUX_URL: `http://user:hunter2@127.0.0.1:${port}`,
    });
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toContain('ERR_INFLUX_UNREACHABLE');
    expect(outcome.stderr).not.toContain('hunter2');
  });

  test('says so when INFLUX_URL is another kind of server', async () => {
    const { server, port } = await listening();
    try {
      const outcome = await ended(['--data', folder], { INFLUX_URL: `http://127.0.0.1:${port}` });
      expect(outcome.code).toBe(1);
      expect(outcome.stderr).toContain('expected InfluxDB');
    } finally {
      server.close();
    }
  });

  test('refuses a data folder of another version', async () => {
    writeFileSync(join(folder, 'VERSION'), '99\n');
    const outcome = await ended(['--data', folder]);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(/ERR_DATA_VERSION.*expected format version 1, got 99/);
  });

  test('explains a wrong option and shows where help is', async () => {
    const outcome = await ended(['--no-dmeo']);
    expect(outcome.code).toBe(2);
    expect(outcome.stderr).toMatch(/ERR_OPTION.*no-dmeo/);
    expect(outcome.stderr).toContain('--help');
  });

  test('prints help and ends well when asked', async () => {
    const outcome = await ended(['--help']);
    expect(outcome.code).toBe(0);
    expect(outcome.stdout).toContain('--no-demo');
  });
});

describe('npm start with the demo fleet', () => {
  let folder: string;
  let network: TestNetwork;
  let fieldproof: (...args: string[]) => Promise<Outcome>;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'fieldproof-start-'));
    network = await startNetwork({ dataDir: join(folder, 'data'), fromSource: true });
    const { url, tokenFile } = network.info.control;
    const env = { FIELDPROOF_URL: url, FIELDPROOF_TOKEN_FILE: tokenFile };
    fieldproof = (...args) => runProgram(FIELDPROOF, args, { env, fromSource: true });
    await until('all nine devices have readings in the store', async () => {
      const { stdout } = await runProgram(FIELDPROOF, ['latest', '--json'], { env });
      const devices = new Set(
        (JSON.parse(stdout || '{"values":[]}') as { values: { device: string }[] }).values.map(
          ({ device }) => device,
        ),
      );
      return devices.size === 9;
    });
  });

  afterAll(async () => {
    await network?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test('prints the first recorded reading, addresses and how to log in', () => {
    const output = network.output();
    expect(output).toMatch(/first reading recorded \d\d:\d\d:\d\d/);
    expect(output).toContain(`${network.info.control.url}/#token=fpt_`);
    expect(output).toMatch(/Editor +http:\/\/127\.0\.0\.1:\d+.*user admin, password \S+/);
  });

  test('answers fieldproof devices, latest, query and status', async () => {
    const devices = await fieldproof('devices');
    expect(devices).toMatchObject({ code: 0, stderr: '' });
    for (const name of ['this-machine', 'roadside-june', 'traffic-speed', 'machine-temperature']) {
      expect(devices.stdout).toContain(name);
    }
    const query = await fieldproof('query', 'system', 'load_1m', '--from', '-15m', '--json');
    expect(query.code).toBe(0);
    const { series } = JSON.parse(query.stdout) as { series: { values: number[] }[] };
    expect(series).toHaveLength(1);
    expect(series[0]?.values.length).toBeGreaterThan(0);
    expect(series[0]?.values.every((value) => value >= 0)).toBe(true);
    const status = await fieldproof('status', '--json');
    expect(status.code).toBe(0);
    expect(status.stdout).toContain(network.info.network);
  });

  test('has refused nothing and leaves nothing without a verdict', async () => {
    const verdicts = await until('nothing is in flight', async () => {
      const status = await brokerStatus(join(folder, 'data', 'broker'));
      const { verdicts: now } = JSON.parse(status.stdout) as {
        verdicts: { accepted: number; rejected: number; inFlight: number };
      };
      return now.inFlight === 0 ? now : null;
    });
    expect(verdicts.rejected).toBe(0);
    expect(verdicts.accepted).toBeGreaterThan(9);
  });

  test('refuses a second start on the same data folder', async () => {
    const outcome = await ended(['--data', join(folder, 'data'), '--port-base', '0']);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toContain('ERR_ALREADY_RUNNING');
  });

  test('goes on after its broker was killed, at the same addresses, and says its new process id', async () => {
    const { broker, pids } = network.info;
    process.kill(pids.broker!, 'SIGKILL');
    const file = join(folder, 'data', 'network.json');
    const again = await until('the new broker is in network.json', () => {
      const info = JSON.parse(readFileSync(file, 'utf8')) as TestNetwork['info'];
      return info.pids.broker !== pids.broker && info.pids.broker !== undefined ? info : null;
    });
    expect(again.broker).toEqual(broker);
    await until('all agents deliver again', async () => {
      const status = await brokerStatus(join(folder, 'data', 'broker'));
      if (status.code !== 0) return false;
      const { verdicts } = JSON.parse(status.stdout) as { verdicts: { accepted: number } };
      return verdicts.accepted > 9;
    });
  });

  test('ends cleanly on Ctrl-C, with no process left, and starts again where it was', async () => {
    const pids = Object.values(network.info.pids).filter((pid) => pid !== undefined);
    expect(pids.length).toBe(5);
    expect(await network.stop()).toBe(0);
    for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow();
    // The ids are anybody's by and by: none of them is noted for the next start.
    expect(existsSync(join(folder, 'data', 'CHILDREN'))).toBe(false);
    const id = network.info.network;
    network = await startNetwork({
      dataDir: join(folder, 'data'),
      args: ['--no-demo'],
      fromSource: true,
    });
    expect(network.info.network).toBe(id);
  });
});
