/**
 * An agent and a broker on a network that nobody trusts: enrolment and readings over TLS with the CA that the
 * descriptor pins, and a man in the middle with a CA of its own, who gets neither the token nor a reading.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, createServer, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { runProgram, until } from '../support/network.ts';
import { programPath } from '../support/program.ts';
import { REPOSITORY } from '../support/repository.ts';

const AGENT = 'device-agent/bin/fieldproof-agent.mjs';
const BROKER = 'broker/bin/fieldproof-broker.mjs';

describe('an agent over TLS', () => {
  let folder: string;
  let broker: ChildProcess;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'fieldproof-tls-'));
    const ports = [
      '--http-port',
      '0',
      '--mqtt-port',
      '0',
      '--https-port',
      '0',
      '--mqtts-port',
      '0',
    ];
    broker = spawn(
      process.execPath,
      [programPath(BROKER), 'start', '--data', join(folder, 'broker'), '--lan', ...ports],
      { cwd: REPOSITORY, env: { ...process.env, NODE_OPTIONS: '' } },
    );
    let output = '';
    broker.stdout?.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    broker.stderr?.resume();
    await until('the broker is ready', () => output.includes('"ready"'));
  });

  afterAll(async () => {
    const gone = new Promise((done) => broker.once('exit', done));
    broker.kill('SIGTERM');
    await gone;
    rmSync(folder, { recursive: true, force: true });
  });

  async function joinLine(): Promise<string> {
    const made = await runProgram(BROKER, [
      ...['token', 'create', '--data', join(folder, 'broker'), '--host', '127.0.0.1', '--json'],
    ]);
    const line = /fieldproof:\/\/[^"\s]+/.exec(made.stdout)?.[0];
    if (line === undefined) throw new Error(`no join line: ${made.stdout}${made.stderr}`);
    return line;
  }

  test('enrols, delivers, and forgets by receipts', async () => {
    const line = await joinLine();
    expect(line).not.toContain('plain=1');
    const data = join(folder, 'agent');
    const init = await runProgram(AGENT, ['init', '--join', line, '--data', data, '--json']);
    expect(init).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(init.stdout)).toMatchObject({ enrolled: true });
    const agent = spawn(
      process.execPath,
      [programPath(AGENT), 'run', '--data', data, '--set', 'batch.sealEveryMs=200'],
      { cwd: REPOSITORY, stdio: 'ignore', env: { ...process.env, NODE_OPTIONS: '' } },
    );
    const gone = new Promise((done) => agent.once('exit', done));
    try {
      await until('a reading is receipted', async () => {
        const { stdout } = await runProgram(AGENT, ['status', '--data', data, '--json']);
        const status = JSON.parse(stdout) as {
          link?: { state: string };
          firstRecordedMs?: number | null;
        };
        return status.link?.state === 'online' && status.firstRecordedMs;
      });
    } finally {
      agent.kill('SIGTERM');
      await gone;
    }
  });

  test('gives a man in the middle with another CA neither token nor login', async () => {
    const line = await joinLine();
    const token = /token=([^&]+)/.exec(line)![1]!;
    const target = Number(/:(\d+)\//.exec(line.slice('fieldproof://'.length))![1]);
    const certificate = await selfSigned(folder);
    const heard: Buffer[] = [];
    // He relays everything, so that the descriptor that he shows is the true one.
    const middle = createServer({ ...certificate }, (client: TLSSocket) => {
      const server = connectTls({ host: '127.0.0.1', port: target, rejectUnauthorized: false });
      client.on('data', (chunk: Buffer) => heard.push(chunk));
      client.pipe(server).pipe(client);
      client.on('error', () => server.destroy());
      server.on('error', () => client.destroy());
    });
    await new Promise<void>((done) => middle.listen(0, '127.0.0.1', done));
    try {
      const { port } = middle.address() as AddressInfo;
      const caught = line.replace(`:${target}/`, `:${port}/`);
      const data = join(folder, 'caught');
      const init = await runProgram(AGENT, ['init', '--join', caught, '--data', data]);
      expect(init.code).toBe(77);
      expect(init.stderr).toMatch(/^fieldproof-agent: ERR_AGENT_CA_MISMATCH: [^\n]+\n$/);
      const said = Buffer.concat(heard).toString('latin1');
      expect(said).toContain('GET /v1/descriptor');
      expect(said).not.toMatch(/enrol|hello/);
      expect(said).not.toContain(Buffer.from(token, 'base64url').toString('latin1'));
    } finally {
      middle.close();
    }
    // The same line at the right address still joins: the token was not used.
    const init = await runProgram(AGENT, ['init', '--join', line, '--data', join(folder, 'free')]);
    expect(init.code).toBe(0);
  });
});

/** A certificate of a CA that nobody pinned, for the right name. */
async function selfSigned(folder: string): Promise<{ key: Buffer; cert: Buffer }> {
  const key = join(folder, 'mitm.key');
  const cert = join(folder, 'mitm.crt');
  const openssl = spawn('openssl', [
    ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=127.0.0.1'],
    ...['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert],
  ]);
  await new Promise((done) => openssl.once('exit', done));
  return { key: readFileSync(key), cert: readFileSync(cert) };
}
