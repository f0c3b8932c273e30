/** A way to a server that a test can break, or let fall silent, as networks and stopped servers do. */

import { connect, createServer, type Socket } from 'node:net';

export interface BreakableLink {
  /** The URL of the server by way of this link. */
  readonly url: string;
  /** Connections that are open. */
  readonly connections: number;
  /** From now on nothing gets through, neither way, and nothing is refused. */
  silence(): void;
  /** What is under way breaks; what comes then gets through. */
  break(): void;
  close(): Promise<void>;
}

export async function openBreakableLink(serverUrl: string): Promise<BreakableLink> {
  const to = new URL(serverUrl);
  const pairs = new Map<Socket, Socket>();
  let isSilent = false;
  const server = createServer((near) => {
    const far = connect(Number(to.port), to.hostname);
    pairs.set(near, far);
    for (const [from, other] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('data', (bytes) => void (isSilent || other.write(bytes)));
      from.on('error', () => {});
      from.on('close', () => {
        pairs.delete(near);
        // A silent server does not say that it is gone either.
        if (!isSilent || from === near) other.destroy();
      });
    }
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const url = new URL(serverUrl);
  url.hostname = '127.0.0.1';
  url.port = String((server.address() as { port: number }).port);
  const breakAll = () => {
    isSilent = false;
    for (const sockets of [...pairs]) for (const socket of sockets) socket.destroy();
  };
  return {
    url: url.href,
    get connections() {
      return pairs.size;
    },
    silence: () => {
      isSilent = true;
    },
    break: breakAll,
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      breakAll();
      await closed;
    },
  };
}
