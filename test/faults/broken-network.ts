/** What `npm start` starts, with proxies in front of it and an InfluxDB behind it: everything that a fault can hit. */

import type { ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { evidenceFolder } from '@fieldproof/analytics/audit/evidence-files';
import { createJoinLine, onLoopback } from '@fieldproof/stack/broker-admin';
import { readSecret } from '@fieldproof/stack/network';
import { awaitOrphans } from '@fieldproof/stack/orphans';
import { type Influxd, startInfluxd } from '../support/influxd.ts';
import { startNetwork, type TestNetwork } from '../support/network.ts';
import type { Target } from './fault-plan.ts';
import { childrenOf } from './process-tree.ts';
import { TcpProxy } from './tcp-proxy.ts';

/** Another address of this machine, where the proxies listen on the ports that the broker has on 127.0.0.1. */
export const PROXY_HOST = '127.0.0.2';

export type Store = 'embedded' | 'influx';

const BLOCK = 6;
const TRIES = 40;

export class BrokenNetwork {
  readonly dataDir: string;
  readonly portBase: number;
  readonly influx: Influxd | null;
  readonly proxies: Readonly<Record<'mqtt' | 'http', TcpProxy>>;
  readonly #args: readonly string[];
  #supervisor: ChildProcess | null = null;
  #network: TestNetwork | null = null;
  /** Starts that ended by themselves: each would have needed a hand. */
  readonly failedStarts: string[] = [];
  readonly #kill = () => this.#supervisor?.kill('SIGKILL');

  private constructor(options: {
    readonly dataDir: string;
    readonly portBase: number;
    readonly influx: Influxd | null;
    readonly fleet: boolean;
  }) {
    this.dataDir = options.dataDir;
    this.portBase = options.portBase;
    this.influx = options.influx;
    const port = String(options.portBase);
    this.#args = ['--port-base', port, '--max-restart-pause', '100'];
    if (!options.fleet) this.#args = [...this.#args, '--no-demo'];
    this.proxies = {
      http: new TcpProxy({ host: '127.0.0.1', port: options.portBase }),
      mqtt: new TcpProxy({ host: '127.0.0.1', port: options.portBase + 3 }),
    };
    // A run that dies must leave nothing behind; the others end when this one is gone.
    process.once('exit', this.#kill);
  }

  /** Starts everything. */
  static async start(options: {
    readonly dataDir: string;
    readonly store: Store;
    readonly fleet: boolean;
  }): Promise<BrokenNetwork> {
    const influx = options.store === 'influx' ? await startInfluxd() : null;
    const network = new BrokenNetwork({ ...options, influx, portBase: await freeBlock() });
    try {
      await network.proxies.http.start({ host: PROXY_HOST, port: network.portBase });
      await network.proxies.mqtt.start({ host: PROXY_HOST, port: network.portBase + 3 });
      await network.#startSupervisor();
    } catch (error) {
      await network.stop();
      throw error;
    }
    return network;
  }

  /** Ids of what lives now. */
  pids(): ReadonlyMap<Target, number> {
    const pid = this.#supervisor?.pid;
    return pid === undefined ? new Map() : childrenOf(pid);
  }

  get supervisorPid(): number | undefined {
    const child = this.#supervisor;
    return child?.exitCode === null && child.signalCode === null ? child.pid : undefined;
  }

  get isUp(): boolean {
    return this.#network !== null;
  }

  /** Kills `npm start` itself, and starts it again, as a service manager does. Resolves when it is up. */
  async killSupervisor(againMs: number | null): Promise<void> {
    this.#network = null;
    this.#supervisor?.kill('SIGKILL');
    if (againMs !== null) {
      const starting = this.#startSupervisor();
      const timer = setTimeout(() => {
        // killed by us: no failed start
        this.#network = null;
        this.#supervisor?.kill('SIGKILL');
      }, againMs);
      const isUp = await starting.then(
        () => true,
        (error: Error) => (this.#supervisor?.signalCode === 'SIGKILL' ? false : fail(error)),
      );
      clearTimeout(timer);
      if (isUp && this.supervisorPid !== undefined) return;
    }
    for (let tries = 0; ; tries++) {
      try {
        await this.#startSupervisor();
        return;
      } catch (error) {
        this.failedStarts.push((error as Error).message);
        if (tries === 3) throw error;
      }
    }
  }

  async createJoinLine(uses: number): Promise<string> {
    const url = `http://127.0.0.1:${this.portBase}`;
    const tokenFile = join(this.dataDir, 'broker', 'tokens', 'admin');
    const line = await createJoinLine({ url, tokenFile }, { uses, hours: 24 });
    return onLoopback(line, url);
  }

  /** Size of the evidence log, bytes: it grows while the network records. */
  evidenceBytes(): number {
    const { segments } = evidenceFolder(join(this.dataDir, 'broker'));
    try {
      return readdirSync(segments).reduce(
        (sum, name) => sum + (statSync(join(segments, name), { throwIfNoEntry: false })?.size ?? 0),
        0,
      );
    } catch {
      return 0;
    }
  }

  /** Whether the agents of this process run: the first of them has written its status. */
  isAgentReady(target: 'agent' | 'fleet', pid: number): boolean {
    const name = target === 'agent' ? 'this-machine' : 'roadside-april';
    try {
      const path = join(this.dataDir, 'agents', name, 'status.json');
      return (JSON.parse(readFileSync(path, 'utf8')) as { pid: number }).pid === pid;
    } catch {
      return false;
    }
  }

  /** Whether somebody listens on the process's port. */
  answers(target: 'broker' | 'control' | 'flows'): Promise<boolean> {
    const offset = { broker: 0, control: 1, flows: 2 }[target];
    return new Promise((resolve) => {
      const socket = connect(this.portBase + offset, '127.0.0.1');
      const say = (answer: boolean) => {
        socket.destroy();
        resolve(answer);
      };
      socket.setTimeout(1000, () => say(false));
      socket.once('connect', () => say(true));
      socket.once('error', () => say(false));
    });
  }

  /** How far the projection is; null while the control process or the flows do not say. */
  async projection(): Promise<{ nextIndex: number; evidenceSize: number } | null> {
    try {
      const token = readSecret(join(this.dataDir, 'control', 'admin-token'));
      const answer = await fetch(`http://127.0.0.1:${this.portBase + 1}/v1/status`, {
        headers: { authorization: `Bearer ${token}` },
        signal: AbortSignal.timeout(5000),
      });
      const { projection } = (await answer.json()) as {
        projection: { nextIndex: number; evidenceSize: number } | null;
      };
      return projection;
    } catch {
      return null;
    }
  }

  /** As Ctrl-C. @returns the exit code of `npm start`. */
  async stopInOrder(): Promise<number | null> {
    const network = this.#network;
    this.#network = null;
    return network === null ? null : await network.stop();
  }

  /** Ends everything that still runs. */
  async stop(): Promise<void> {
    process.off('exit', this.#kill);
    if (this.#network !== null) await this.stopInOrder();
    this.#supervisor?.kill('SIGKILL');
    await awaitOrphans(this.dataDir);
    for (const proxy of Object.values(this.proxies)) await proxy.stop();
    await this.influx?.stop();
  }

  async #startSupervisor(): Promise<void> {
    this.#network = await startNetwork({
      dataDir: this.dataDir,
      args: this.#args,
      env: {
        ...(this.influx !== null && { INFLUX_URL: this.influx.url }),
        // A fleet on one address that comes back at once, many times a minute.
        FIELDPROOF_BROKER_HELLO_PER_SECOND: '0',
        FIELDPROOF_BROKER_ENROL_PER_SECOND: '0',
      },
      onSpawn: (child) => {
        this.#supervisor = child;
      },
      // Others kill what it starts meanwhile.
      limitMs: 300_000,
    });
  }
}

function fail(error: Error): never {
  throw error;
}

/** The first of six ports in a row that are free here and at the proxies' address. */
async function freeBlock(): Promise<number> {
  for (let tries = 0; tries < TRIES; tries++) {
    const base = 12_000 + BLOCK * Math.floor(Math.random() * 3000);
    const servers: Server[] = [];
    try {
      for (let i = 0; i < BLOCK; i++) {
        servers.push(await listen('127.0.0.1', base + i), await listen(PROXY_HOST, base + i));
      }
      return base;
    } catch {
      // taken
    } finally {
      await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
    }
  }
  throw new Error(`ports: expected ${BLOCK} free ones in a row on 127.0.0.1 and ${PROXY_HOST}`);
}

function listen(host: string, port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(port, host, () => resolve(server));
  });
}
