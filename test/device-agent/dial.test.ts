import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { systemClock } from '@fieldproof/device-agent/clock';
import { dial } from '@fieldproof/device-agent/dial';
import { httpCall } from '@fieldproof/device-agent/http-call';
import { afterEach, describe, expect, test } from '@jest/globals';

describe('a connection', () => {
  const servers: Server[] = [];
  afterEach(() => {
    for (const server of servers.splice(0)) server.close();
  });

  async function dialed(onConnection: (peer: Socket) => void): Promise<Socket> {
    const server = createServer((peer) => {
      peer.on('error', () => {});
      onConnection(peer);
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    return dial({ host: '127.0.0.1', port, tls: false, timeoutMs: 5000, clock: systemClock });
  }

  test('that is reset before anybody listens ends itself and not the process', async () => {
    let peer: Socket | undefined;
    const socket = await dialed((accepted) => {
      peer = accepted;
    });
    const closed = new Promise<boolean>((resolve) => socket.once('close', resolve));
    while (peer === undefined) await new Promise((resolve) => setImmediate(resolve));
    peer.resetAndDestroy();
    // Reading is what meets the reset.
    socket.resume();
    expect(await closed).toBe(true);
  });

  test('that is reset in the middle of an answer is an error of the call', async () => {
    const socket = await dialed((peer) => {
      peer.once('data', () => {
        peer.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf', () =>
          setTimeout(() => peer.resetAndDestroy(), 20),
        );
      });
    });
    const call = httpCall(socket, { method: 'GET', host: 'broker', path: '/', timeoutMs: 5000 });
    await expect(call).rejects.toMatchObject({ code: 'ERR_AGENT_UNREACHABLE' });
    await new Promise((resolve) => setTimeout(resolve, 50));
  });
});
