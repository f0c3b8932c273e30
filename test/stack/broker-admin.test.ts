import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { publicKeyFromSeed } from '@fieldproof/protocol/ed25519';
import { formatJoinLine, parseJoinLine } from '@fieldproof/protocol/join-line';
import { createJoinLine, onLoopback } from '@fieldproof/stack/broker-admin';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';

const lan = {
  host: '192.0.2.7',
  port: 7885,
  plain: false,
  network: 'h7dz6lhl',
  rootKey: publicKeyFromSeed(new Uint8Array(32).fill(1)),
  token: new Uint8Array(16).fill(3),
};

test('agents of this machine join over loopback with the same root and token', () => {
  const line = onLoopback(formatJoinLine(lan), 'http://127.0.0.1:7880');
  expect(parseJoinLine(line)).toEqual({ ...lan, host: '127.0.0.1', port: 7880, plain: true });
});

test('also over IPv6', () => {
  const line = onLoopback(formatJoinLine(lan), 'http://[::1]:7880');
  expect(parseJoinLine(line)).toMatchObject({ host: '::1', port: 7880, plain: true });
});

describe('asking a broker for an enrolment token', () => {
  const folder = mkdtempSync(join(tmpdir(), 'fieldproof-admin-'));
  const tokenFile = join(folder, 'admin');
  let server: Server | undefined;
  beforeAll(() => writeFileSync(tokenFile, 'secret\n'));
  afterEach(() => void server?.close());
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** A broker that answers so, one after the other. */
  async function broker(...answers: ((response: ServerResponse) => void)[]) {
    server = createServer((request, response) => {
      request.resume();
      answers.shift()!(response);
    });
    await new Promise<void>((done) => server!.listen(0, '127.0.0.1', done));
    const { port } = server.address() as AddressInfo;
    return { url: `http://127.0.0.1:${port}`, tokenFile };
  }

  const says = (status: number, body: object) => (response: ServerResponse) =>
    void response.writeHead(status).end(JSON.stringify(body));
  const token = { uses: 1, hours: 1 };
  const patience = { limitMs: 60_000, isOver: () => false };
  const cutOff = (response: ServerResponse) => void response.destroy();

  test('waits while it is cut off and not ready', async () => {
    const notReady = says(503, { detail: 'broker: starting or stopping' });
    const admin = await broker(cutOff, notReady, says(200, { joinLine: 'fp1…' }));
    expect(await createJoinLine(admin, token, patience)).toBe('fp1…');
  });

  test('takes a refusal as final', async () => {
    const admin = await broker(says(403, { detail: 'token: no such right' }));
    await expect(createJoinLine(admin, token, patience)).rejects.toMatchObject({
      code: 'ERR_PROCESS_FAILED',
      message: 'broker: no enrolment token (403 token: no such right)',
    });
  });

  test('ends when nobody waits any more', async () => {
    const admin = await broker(cutOff);
    const over = { ...patience, isOver: () => true };
    await expect(createJoinLine(admin, token, over)).rejects.toMatchObject({
      code: 'ERR_PROCESS_FAILED',
    });
  });
});
