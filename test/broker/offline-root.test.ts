import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportRootKey } from '@fieldproof/broker/root-key';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { programPath } from '../support/program.ts';
import { REPOSITORY } from '../support/services.ts';
import { type Commands, startCommands } from './support/commands.ts';

const BIN = programPath('broker/bin/fieldproof-broker.mjs');

let folder: string;
let env: NodeJS.ProcessEnv;
let running: Commands;
const children: ChildProcess[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'fieldproof-offline-root-'));
  mkdirSync(join(folder, 'stick'));
  env = {
    ...{ ...process.env, NODE_OPTIONS: '', FIELDPROOF_BROKER_LOG_LEVEL: 'warn' },
    FIELDPROOF_BROKER_HTTP_PORT: String(await freePort()),
    FIELDPROOF_BROKER_MQTT_PORT: String(await freePort()),
  };
  running = await startCommands({ cwd: folder, env });
});
afterAll(async () => {
  await running.stop();
  for (const child of children) {
    if (child.exitCode !== null) continue;
    const gone = new Promise((done) => child.once('exit', done));
    child.kill('SIGTERM');
    await gone;
  }
  rmSync(folder, { recursive: true, force: true });
});

/** The commands of the guide, in its order. */
function commands(): readonly (readonly string[])[] {
  const guide = readFileSync(join(REPOSITORY, 'docs/guides/offline-root.md'), 'utf8');
  return [...guide.matchAll(/```sh\n(.*?)```/gs)]
    .flatMap(([, block]) => block!.trim().split('\n'))
    .map((line) => line.split(/\s+/));
}

const cli = (...args: string[]) => running.run(...args);

async function start(args: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, [BIN, ...args], { cwd: folder, env });
  children.push(child);
  let log = '';
  child.stderr.on('data', (chunk) => {
    log += String(chunk);
  });
  await new Promise<void>((resolve, reject) => {
    child.stdout.on('data', (chunk) => String(chunk).includes('"ready"') && resolve());
    child.once('exit', (code) => reject(new Error(`exit code ${code}: ${log}`)));
  });
  return log;
}

describe('the root key offline', () => {
  test('every command of the guide does what it says, in its order', async () => {
    const all = commands();
    expect(all.length).toBeGreaterThan(15);
    const said: string[] = [];
    for (const [program, ...args] of all) {
      expect(program).toBe('fieldproof-broker');
      if (args[0] === 'start') {
        expect(await start(args)).not.toContain('ERR_');
        continue;
      }
      const { code, stdout, stderr } = await cli(...args);
      expect([args, code, stderr]).toEqual([args, 0, '']);
      said.push(stdout);
    }
    const text = said.join('\n');
    expect(text).toContain('keys.log: z6Mk');
    expect(text).toMatch(/descriptor 4: in force/);
    expect(text).toMatch(/compromised: none → z6Mk/);
    expect(statSync(join(folder, 'vault/root.key')).mode & 0o777).toBe(0o600);
    expect(existsSync(join(folder, 'server/keys/root.key'))).toBe(false);
    const { stdout } = await cli('descriptor', 'show', '--data', 'server', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ version: 4, changes: [], problem: null });
  });

  test.each([
    ['root new --out vault/root.key', 'ERR_FILE_EXISTS'],
    ['init --root vault/none.pub --data other', 'ERR_FILE_UNREADABLE'],
    ['init --root z6Mkx --data other', 'ERR_KEY_FILE'],
    ['root export --data server --out stick/none.key', 'ERR_KEY_NOT_HERE'],
    ['descriptor draft --data nowhere --out stick/none.cbor', 'ERR_KEY_NOT_HERE'],
    [
      'descriptor sign stick/draft-2.cbor --root vault/root.key --current stick/descriptor-4.cose --out stick/none.cose',
      'ERR_DESCRIPTOR_REFUSED',
    ],
    [
      'descriptor sign stick/draft-2.cbor --root vault/root.key --out stick/descriptor-1.cose',
      'ERR_FILE_EXISTS',
    ],
    ['descriptor install stick/descriptor-2.cose --data server', 'ERR_DESCRIPTOR_REFUSED'],
    ['descriptor install stick/draft-1.cbor --data server', 'ERR_DESCRIPTOR_REFUSED'],
  ])('%s: %s', async (line, expected) => {
    const { code, stderr } = await cli(...line.split(' '));
    expect([code, stderr.trim().split('\n').length]).toEqual([1, 1]);
    expect(stderr).toContain(expected);
    expect(existsSync(join(folder, 'stick/none.cose'))).toBe(false);
  });

  test('a network without a signed descriptor does not start, and says what to do', async () => {
    const { stdout } = await cli('root', 'new', '--out', 'second.key', '--json');
    const { rootKey } = JSON.parse(stdout) as { rootKey: string };
    await cli('init', '--root', rootKey, '--data', 'second');
    const ports = ['--http-port', '0', '--mqtt-port', '0'];
    const refused = await start(['start', '--data', 'second', ...ports]).catch(String);
    const line = refused.trim().split('\n').at(-1);
    expect(refused).toContain('exit code 1');
    expect(line).toMatch(/ERR_DESCRIPTOR_NEEDED.*descriptor draft.*descriptor install/);
  });

  test('is moved out of a data folder only when it can be read back', async () => {
    const keys = join(folder, 'simple/keys');
    await cli('root', 'new', '--out', 'simple/keys/root.key');
    const { rootKey } = JSON.parse(
      (await cli('root', 'new', '--out', 'third.key', '--json')).stdout,
    ) as { rootKey: string };
    expect((await cli('init', '--root', rootKey, '--data', 'simple')).stderr).toContain(
      'ERR_KEY_FILE',
    );
    rmSync(join(folder, 'simple'), { recursive: true });
    // The simple way: started once with its root key.
    const ports = ['--http-port', '0', '--mqtt-port', '0'];
    await start(['start', '--data', 'simple', ...ports]);
    const seed = readFileSync(join(keys, 'root.key'), 'utf8');
    expect(() => exportRootKey(join(folder, 'simple'), join(keys, 'moved.key'))).toThrow('exists');
    expect(existsSync(join(keys, 'root.key'))).toBe(true);
    const { code } = await cli('root', 'export', '--data', 'simple', '--out', 'stick/moved.key');
    expect([code, existsSync(join(keys, 'root.key'))]).toEqual([0, false]);
    expect(readFileSync(join(folder, 'stick/moved.key'), 'utf8')).toBe(seed);
    // The running broker sees it.
    const rotated = await cli('keys', 'rotate', 'log', '--data', 'simple', '--json');
    expect(JSON.parse(rotated.stdout)).toMatchObject({ installed: false });
  });
});

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { readonly port: number };
      server.close(() => resolve(port));
    });
  });
}
