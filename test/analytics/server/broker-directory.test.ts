import { mkdtemp, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brokerClient } from '@fieldproof/analytics/server/broker-directory';
import { afterEach, describe, expect, test } from '@jest/globals';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/** A broker that answers `body` to everything. */
async function broker(body: string, status = 200) {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    response.writeHead(status, { 'content-type': 'application/json' }).end(body);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  return { url: `http://127.0.0.1:${port}`, requests };
}

describe('the broker as a directory', () => {
  test('reads devices with its token, and leaves out what does not fit', async () => {
    const list = [
      {
        ...{ device: 'z6MkA', name: 'roof', online: true, lastSeenMs: 5, boot: [1, 2] },
        profiles: { e: [{ metric: 't', unit: 'Cel' }, { metric: 5 }, null], x: 'no' },
      },
      { device: 'z6MkB', name: 7, online: 'yes', group: '' },
      { name: 'no id' },
      null,
    ];
    const { url, requests } = await broker(JSON.stringify(list));
    const tokenFile = join(await mkdtemp(join(tmpdir(), 'fieldproof-')), 'token');
    await writeFile(tokenFile, 'secret\n');
    expect(await brokerClient({ url, tokenFile }).devices()).toEqual({
      ok: true,
      value: [
        {
          ...{ device: 'z6MkA', name: 'roof', online: true, lastSeenMs: 5 },
          profiles: { e: [{ metric: 't', unit: 'Cel' }] },
        },
        { device: 'z6MkB' },
      ],
    });
    expect(requests.map((r) => [r.url, r.headers.authorization])).toEqual([
      ['/admin/devices', 'Bearer secret'],
    ]);
  });

  test('reads the list inside an object and ids by their longer name', async () => {
    const { url } = await broker('{"devices":[{"deviceId":"z6MkA","online":false}]}');
    expect(await brokerClient({ url }).devices()).toEqual({
      ...{ ok: true, value: [{ device: 'z6MkA', online: false }] },
    });
  });

  test.each([
    ['{}', 200],
    ['not json', 200],
    ['[]', 500],
    ['[]', 401],
  ])('the answer %j with status %d is "not ok", never an error', async (body, status) => {
    const { url } = await broker(body, status);
    const answer = await brokerClient({ url }).devices();
    expect(answer).toMatchObject({ ok: false, detail: expect.stringMatching(/^broker: /) });
  });

  test('a broker that is down, and a token file that is missing, are "not ok"', async () => {
    expect(await brokerClient({ url: 'http://127.0.0.1:1' }).status()).toMatchObject({ ok: false });
    const { url } = await broker('{}');
    expect(await brokerClient({ url, tokenFile: '/nonexistent' }).status()).toMatchObject({
      ...{ ok: false, detail: expect.stringContaining('ENOENT') },
    });
    expect(await brokerClient({ url }).status()).toEqual({ ok: true, value: {} });
  });
});
