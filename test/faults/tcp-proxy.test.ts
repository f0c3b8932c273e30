/** The proxy does to connections what its faults are called: else a run would prove nothing. */

import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { until } from '../support/network.ts';
import { TcpProxy } from './tcp-proxy.ts';

const HOST = '127.0.0.1';

describe('the proxy of the fault harness', () => {
  let echo: Server;
  let proxy: TcpProxy;
  let socket: Socket;
  let got: string;
  /** What the server has heard. */
  let heard: string;
  let ending: string | null;

  beforeEach(async () => {
    heard = '';
    echo = createServer((peer) => {
      peer.on('error', () => {});
      peer.on('data', (chunk) => {
        heard += chunk;
        peer.write(chunk);
      });
    });
    await new Promise<void>((done) => echo.listen(0, HOST, done));
    proxy = new TcpProxy({ host: HOST, port: (echo.address() as { port: number }).port });
    socket = connect(await proxy.start({ host: HOST, port: 0 }), HOST);
    got = '';
    ending = null;
    socket.on('data', (chunk) => {
      got += chunk;
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      ending = error.code ?? 'error';
    });
    socket.on('close', () => {
      ending ??= 'closed';
    });
    await said('hello');
  });

  afterEach(async () => {
    socket.destroy();
    await until('it is gone', () => ending);
    await proxy.stop();
    await new Promise((done) => echo.close(done));
  });

  const said = async (text: string): Promise<void> => {
    socket.write(text);
    await until(`${text} comes back`, () => got.endsWith(text));
  };

  test('passes everything both ways', async () => {
    await said('x'.repeat(300_000));
    expect(got.length).toBe(300_005);
    expect(proxy.forwarded).toBe(2 * 300_005);
  });

  test('a slow answer that ends its connection comes through whole', async () => {
    const server = createServer((peer) => {
      peer.end('x'.repeat(3000));
    });
    await new Promise<void>((done) => server.listen(0, HOST, done));
    const slow = new TcpProxy({ host: HOST, port: (server.address() as { port: number }).port });
    slow.throttle(20_000);
    const reader = connect(await slow.start({ host: HOST, port: 0 }), HOST);
    let length = 0;
    reader.on('data', (chunk) => {
      length += chunk.length;
    });
    await new Promise((done) => reader.once('close', done));
    expect(length).toBe(3000);
    await slow.stop();
    await new Promise((done) => server.close(done));
  });

  test('cuts', async () => {
    expect(proxy.cut()).toBe(1);
    await until('it has ended', () => ending);
    expect(ending).toBe('closed');
  });

  test('resets', async () => {
    expect(proxy.reset()).toBe(1);
    await until('it has ended', () => ending);
    expect(ending).toBe('ECONNRESET');
  });

  test('lets half a packet through and ends', async () => {
    proxy.cutMidPacket();
    socket.write('0123456789');
    await until('it has ended', () => ending);
    await until('half of it is there', () => heard.length > 5);
    expect(heard).toBe('hello01234');
    expect(proxy.disturbed).toBe(1);
  });

  test('swallows, and delivers late', async () => {
    proxy.blackHole();
    socket.write('later');
    await until('it is swallowed', () => proxy.disturbed > 0);
    expect(heard).toBe('hello');
    proxy.heal();
    await until('it arrives', () => got.endsWith('later'));
  });

  test('leaves the near side open when the far side is gone', async () => {
    expect(proxy.halfOpen()).toBe(1);
    socket.write('nobody hears this');
    await new Promise((done) => setTimeout(done, 50));
    expect([heard, ending]).toEqual(['hello', null]);
    proxy.heal();
    await until('it has ended', () => ending);
  });

  test.each([
    ['delays', () => proxy.delay(30)],
    ['slows', () => proxy.throttle(20_000)],
  ])('%s', async (_, disturb) => {
    disturb();
    await said('slowly');
    expect(proxy.disturbed).toBeGreaterThan(0);
  });

  test('accepts while its target is down', async () => {
    socket.destroy();
    await new Promise((done) => echo.close(done));
    const other = connect(await proxyPort(), HOST);
    await new Promise((done) => other.once('connect', done));
    await new Promise((done) => other.once('close', done));
    await new Promise<void>((done) => echo.listen(0, HOST, done));
  });

  const proxyPort = async (): Promise<number> => {
    const port = (echo.address() as { port: number } | null)?.port ?? 1;
    await proxy.stop();
    proxy = new TcpProxy({ host: HOST, port });
    return await proxy.start({ host: HOST, port: 0 });
  };
});
