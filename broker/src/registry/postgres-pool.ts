/**
 * Connections to PostgreSQL that may break, or fall silent, at any time: such a one is told of and thrown away, whoever
 * waits for it gets an error, and the next query makes a new one.
 *
 * A late query is not abandoned on its connection, as the driver's own `query_timeout` would: what comes after it there
 * would be in its transaction.
 */

import { Socket } from 'node:net';
import pg from 'pg';

export interface PostgresLimits {
  /** Longest wait for a connection. */
  readonly connectMs: number;
  /** Longest silence of the server in the middle of a query, however long its answer is. */
  readonly silenceMs: number;
}

/** Together they stay below the time in which a suspension must end a session: it may wait for a query before it. */
export const POSTGRES_LIMITS: PostgresLimits = { connectMs: 2000, silenceMs: 2500 };

const CONNECTIONS = 4;
/** How long connections may take to say goodbye. */
const GOODBYE_MS = 1000;

export interface PostgresPoolOptions {
  readonly url: string;
  readonly limits: PostgresLimits;
  /** A connection broke. Told once of each. */
  readonly onLost: (error: Error) => void;
}

/** As Kysely asks for connections. */
export class PostgresPool {
  readonly #pool: pg.Pool;
  readonly #limits: PostgresLimits;
  readonly #sockets = new Set<Socket>();

  constructor({ url, limits, onLost }: PostgresPoolOptions) {
    this.#limits = limits;
    this.#pool = new pg.Pool({
      connectionString: url,
      max: CONNECTIONS,
      keepAlive: true,
      connectionTimeoutMillis: limits.connectMs,
      Client: WatchedClient,
    });
    // Each error of an idle connection comes here as well; without a listener it would end the process.
    this.#pool.on('error', () => {});
    this.#pool.on('connect', (client) => {
      const { socket } = client as pg.PoolClient & WatchedClient;
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      // A lost connection may be told of twice: by the server's last words, and when it closes.
      let isTold = false;
      client.on('error', (error) => {
        if (!isTold) onLost(error);
        isTold = true;
      });
    });
  }

  async connect() {
    const client = (await this.#pool.connect()) as pg.PoolClient & WatchedClient;
    const { silenceMs } = this.#limits;
    const query = async (text: string, parameters: readonly unknown[]) => {
      const unwatch = endSilence(client.socket, silenceMs);
      try {
        return await client.query(text, [...parameters]);
      } finally {
        unwatch();
      }
    };
    return { query: query as never, release: () => client.release() };
  }

  async end(): Promise<void> {
    await this.#pool.end();
    // A server that is silent does not close them.
    setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, GOODBYE_MS).unref();
  }
}

class WatchedClient extends pg.Client {
  readonly socket: Socket;

  constructor(config?: pg.ClientConfig) {
    const socket = new Socket();
    super({ ...config, stream: () => socket });
    this.socket = socket;
  }
}

/** Breaks a connection on which nothing comes for so long. @returns what ends the watch. */
function endSilence(socket: Socket, silenceMs: number): () => void {
  let received = socket.bytesRead;
  const check = () => {
    if (socket.bytesRead === received) {
      socket.destroy(new Error(`postgres: no answer for ${silenceMs} ms`));
    }
    received = socket.bytesRead;
  };
  let checking: NodeJS.Immediate | undefined;
  // What came while this process was busy is read before the check.
  const timer = setInterval(() => {
    checking = setImmediate(check);
  }, silenceMs);
  return () => {
    clearInterval(timer);
    clearImmediate(checking);
  };
}
