import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { programPath } from '../support/program.ts';
import { describeWith, findService } from '../support/services.ts';
import { startTestBroker } from './support/broker.ts';
import { TestDevice, until } from './support/device.ts';

const BIN = programPath('broker/bin/fieldproof-broker.mjs');
const PORTS = ['--http-port', '0', '--mqtt-port', '0'];
const run = promisify(execFile);

interface Ready {
  readonly event: string;
  readonly network: string;
  readonly addresses: { readonly http: string; readonly mqtt: string };
}

let folder: string;
let children: ChildProcess[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fieldproof-process-'));
  children = [];
});

afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

async function start(...flags: string[]): Promise<{ child: ChildProcess; ready: Ready }> {
  const child = spawn(process.execPath, [BIN, 'start', '--data', folder, ...PORTS, ...flags], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  children.push(child);
  const line = await new Promise<string>((resolve, reject) => {
    let text = '';
    child.stdout!.on('data', (chunk) => {
      text += String(chunk);
      if (text.includes('\n')) resolve(text.slice(0, text.indexOf('\n')));
    });
    child.once('exit', (code) => reject(new Error(`exit code ${code}`)));
  });
  return { child, ready: JSON.parse(line) as Ready };
}

async function cli(...parts: string[]): Promise<unknown> {
  const { stdout } = await run(process.execPath, [BIN, ...parts, '--data', folder, '--json']);
  return JSON.parse(stdout);
}

function exit(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.once('exit', resolve));
}

async function failure(...flags: string[]): Promise<string> {
  try {
    await run(process.execPath, [BIN, 'start', '--data', folder, ...flags]);
  } catch (error) {
    const { code, stderr } = error as { code: number; stderr: string };
    expect(code).toBe(1);
    return stderr.trim();
  }
  throw new Error('started');
}

describe('the process', () => {
  test('says that it is ready, survives a kill with what it acknowledged, ends cleanly on SIGTERM', async () => {
    const first = await start();
    expect(first.ready.event).toBe('ready');
    const { http, mqtt } = first.ready.addresses;
    const device = new TestDevice({ http, mqtt, network: first.ready.network });
    const { joinLine } = (await cli('token', 'create')) as { joinLine: string };
    await device.enrol(joinLine);
    await device.connect();
    await device.publish('birth', device.seal({ kind: 'birth' }));
    await device.publish('telemetry', device.seal());
    const killed = exit(first.child);
    first.child.kill('SIGKILL');
    await killed;
    const second = await start();
    expect(second.ready.network).toBe(first.ready.network);
    const status = (await cli('status')) as { devices: number; evidence: { entries: number } };
    expect(status.devices).toBe(1);
    // Two descriptors with different ports, token, enrolment, birth, time anchor, telemetry.
    expect(status.evidence.entries).toBe(7);
    const { devices } = (await cli('devices', 'list')) as { devices: { deviceId: string }[] };
    expect(devices.map(({ deviceId }) => deviceId)).toEqual([device.id]);
    const ended = exit(second.child);
    second.child.kill('SIGTERM');
    expect(await ended).toBe(0);
  });

  test('a taken port, a locked folder, a newer folder and bad settings are one line and exit code 1', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    const taken = await failure('--http-port', String(port), '--mqtt-port', '0');
    expect(taken).toMatch(/^fieldproof-broker: ERR_PORT_TAKEN: .*$/m);
    server.close();
    const nowhere = await failure('--host', '192.0.2.1', ...PORTS);
    expect(nowhere).toMatch(/ERR_CONFIG: 192\.0\.2\.1, port 0: .* got EADDRNOTAVAIL/);
    const file = join(folder, 'file');
    writeFileSync(file, '');
    expect(await failure(...PORTS, '--data', file)).toMatch(/ERR_CONFIG: dataDir: .*EEXIST/);
    const bad = await failure('--http-port', '70000', '--log-level', 'loud');
    expect(bad).toMatch(/ERR_CONFIG: configuration: httpPort: .*; logLevel: /);
    await start();
    expect(await failure(...PORTS)).toContain('ERR_DATA_LOCKED');
    for (const child of children) child.kill('SIGKILL');
    writeFileSync(join(folder, 'version'), '99\n');
    await until(() => children.every((child) => child.signalCode !== null));
    expect(await failure(...PORTS)).toContain('ERR_DATA_NEWER');
  });

  test('a command says how it is used', async () => {
    const { stdout } = await run(process.execPath, [BIN, 'token', '--help']);
    expect(stdout).toContain('Usage: fieldproof-broker token');
    for (const [flag, value] of [
      ['--uses', 'five'],
      ['--hours', '2h'],
      ['--hours', '-1'],
    ] as const) {
      const wrong = run(process.execPath, [BIN, 'token', 'create', flag, value, '--data', folder]);
      await expect(wrong).rejects.toMatchObject({
        code: 1,
        stderr: expect.stringMatching(
          new RegExp(
            `^error: option '${flag} <n>' argument '${value}' is invalid. expected a whole`,
          ),
        ),
      });
    }
  });
});

describeWith(['mosquitto_pub'], 'mosquitto_pub', () => {
  test('a stranger is refused; a device’s altered message is not recorded, its good one is', async () => {
    const broker = await startTestBroker({ verifierThreads: 1 });
    try {
      const device = await broker.device();
      const file = join(folder, 'envelope');
      const { port } = new URL(device.mqttUrl);
      const publish = async (password: string, envelope: Uint8Array) => {
        writeFileSync(file, envelope);
        const address = ['-h', '127.0.0.1', '-p', port, '-V', 'mqttv311', '-q', '1'];
        const login = ['-i', device.id, '-u', device.id, '-P', password];
        const message = ['-t', device.topic('telemetry'), '-f', file];
        await run(findService('mosquitto_pub')!, [...address, ...login, ...message]);
      };
      await device.descriptor();
      const before = broker.running.status().evidence.entries;
      await expect(publish('secret', device.seal())).rejects.toMatchObject({ code: 4 });
      const altered = device.seal();
      altered[altered.length - 70] = altered[altered.length - 70]! ^ 1;
      await publish(await device.loginPassword(), altered);
      expect(broker.running.status().evidence.entries).toBe(before);
      expect(broker.running.status().verdicts).toMatchObject({
        received: 1,
        rejectedByCode: { ERR_SIGNATURE_INVALID: 1 },
      });
      await publish(await device.loginPassword(), device.seal());
      expect(broker.running.status().evidence.entries).toBe(before + 1);
    } finally {
      await broker.close();
    }
  });
});
