/**
 * The control process as a value: opens the store, makes the tokens, listens, and stops in order.
 *
 * It composes; what is served is in server/, what is stored in store/.
 */
import { mkdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { limitHttp } from '@fieldproof/protocol/http-limits-node';
import type { FastifyInstance } from 'fastify';
import pino, { type Logger } from 'pino';
import { type DeviceConfigService, openDeviceConfig } from './device-config/device-config.ts';
import { AnalyticsError } from './errors.ts';
import { openLate } from './late-store.ts';
import { RebuildableStore } from './rebuild/rebuildable-store.ts';
import { replaceFile } from './replace-file.ts';
import { brokerClient } from './server/broker-directory.ts';
import type { RouteGroup } from './server/context.ts';
import { buildDashboard } from './server/dashboard-assets.ts';
import type { ErrorTable } from './server/problem.ts';
import type { DeclaredProfiles, ProjectionStatusProvider } from './server/providers.ts';
import { rebuildRoutes } from './server/routes/rebuild.ts';
import { createControlServer } from './server/server.ts';
import { openTokenStore, type Scope } from './server/tokens.ts';
import { openStore } from './store/open-store.ts';
import type { TimeSeriesStore } from './store/time-series-store.ts';

/** Requests under way get this long before their connections are cut. */
const DRAIN_MS = 5000;
/** Where the address of the running process is written, for the command line. */
export const ADDRESS_FILE = 'address.json';

export interface ControlOptions {
  /** Tokens, address and embedded store live here; created when missing. */
  readonly dataDir: string;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 7881; 0 takes any free port. */
  readonly port?: number;
  /** InfluxDB instead of the embedded store. */
  readonly influxUrl?: string | undefined;
  /** The broker's admin API; without it the API says that names and presence are unknown. */
  readonly brokerUrl?: string | undefined;
  readonly brokerTokenFile?: string | undefined;
  /** Folder with the role key `control`; without it devices cannot be set from afar. */
  readonly keysDir?: string | undefined;
  readonly network?: string | undefined;
  readonly maxSeries?: number;
  /** HTTP connections. Default 1000. */
  readonly maxConnections?: number;
  /** The same of one remote address; loopback may have all. Default 256. */
  readonly maxConnectionsPerAddress?: number;
  /** How long the head of a request may take. Default 10 s. */
  readonly headersMs?: number;
  /** How long a client may take nothing of its answer. Default 60 s. */
  readonly stallMs?: number;
  /** Tokens to have ready in `<dataDir>/<name>-token`. Default: admin, and flows (read and write). */
  readonly tokens?: Readonly<Record<string, readonly Scope[]>>;
  readonly log?: Logger;
  /** Unix ms. */
  readonly clock?: () => number;
  readonly projection?: ProjectionStatusProvider;
  /** Units of births, from whoever tails the evidence. */
  readonly declared?: DeclaredProfiles;
  /** Route groups and error tables of other packages. */
  readonly routes?: readonly RouteGroup[];
  readonly errors?: readonly ErrorTable[];
}

export interface RunningControl {
  /** Base address, for example http://127.0.0.1:7881. */
  readonly url: string;
  readonly port: number;
  /** Path of the plain token file, by token name. */
  readonly tokenFiles: Readonly<Record<string, string>>;
  /** Names of those made in this start. */
  readonly newTokens: readonly string[];
  /** The open store, for a projector in this process. */
  readonly store: TimeSeriesStore;
  readonly app: FastifyInstance;
  /** Ends requests and closes the store; twice is harmless. */
  stop(): Promise<void>;
}

const DEFAULT_TOKENS: Readonly<Record<string, readonly Scope[]>> = {
  admin: ['admin'],
  flows: ['read', 'write'],
};

/**
 * Starts the control process in this one.
 *
 * @throws {AnalyticsError} ERR_PORT_TAKEN, ERR_LISTEN, ERR_TOKEN_FILE, ERR_STORE_LOCKED,
 * ERR_STORE_CORRUPT, ERR_STORE_AUTH. An InfluxDB that does not answer is waited for, not an error.
 */
export async function startControl(options: ControlOptions): Promise<RunningControl> {
  const { dataDir, host = '127.0.0.1', port = 7881, influxUrl, brokerUrl } = options;
  const { log = pino({ level: 'silent' }), clock = Date.now } = options;
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const maxSeries = options.maxSeries === undefined ? {} : { maxSeries: options.maxSeries };
  const isEmbedded = influxUrl === undefined || influxUrl === '';
  const embedded = isEmbedded ? new RebuildableStore({ dataDir, ...maxSeries }) : undefined;
  const store = await openLate({
    open: async () => {
      if (embedded === undefined) return openStore({ influxUrl, dataDir, ...maxSeries });
      await embedded.open();
      return embedded;
    },
    failed: (err) => log.warn({ err }, 'store: not reached, trying again'),
  });
  let app: FastifyInstance | null = null;
  let deviceConfig: DeviceConfigService | undefined;
  try {
    const tokens = await openTokenStore({ directory: dataDir, clock });
    const tokenFiles: Record<string, string> = {};
    const newTokens: string[] = [];
    for (const [name, scopes] of Object.entries(options.tokens ?? DEFAULT_TOKENS)) {
      const { path, created } = await tokens.ensure(name, scopes);
      tokenFiles[name] = path;
      if (created) newTokens.push(name);
    }
    const { brokerTokenFile: tokenFile, network, projection, declared, routes, errors } = options;
    const broker =
      brokerUrl === undefined ? undefined : brokerClient({ url: brokerUrl, tokenFile });
    const { keysDir } = options;
    if (brokerUrl !== undefined && tokenFile !== undefined && keysDir !== undefined) {
      deviceConfig = await openDeviceConfig({
        ...{ folder: join(dataDir, 'device-config'), keysDir, clock, log },
        ...{ brokerUrl, brokerTokenFile: tokenFile },
      });
    }
    const { maxConnections = 1000, maxConnectionsPerAddress = 256 } = options;
    const { headersMs = 10_000, stallMs = 60_000 } = options;
    app = await createControlServer({
      ...{ store, tokens, clock, log, projection, declared, errors, headersMs },
      routes: [...(embedded === undefined ? [] : [rebuildRoutes(embedded)]), ...(routes ?? [])],
      storeKind: isEmbedded ? 'duckdb' : 'influxdb',
      version: packageVersion(),
      dashboard: await buildDashboard(),
      directory: broker,
      deviceConfig,
      brokerStatus: broker,
      network: () => network ?? null,
    });
    limitHttp(
      app.server,
      { maxConnections, maxConnectionsPerAddress, headersMs, stallMs },
      {
        counts: { dropped: 0, stalled: 0 },
        report: (cut) => log.warn(cut, 'http: connections were closed because of limits'),
      },
    );
    const listening = await listen(app, { host, port });
    await replaceFile(join(dataDir, ADDRESS_FILE), `${JSON.stringify({ url: listening.url })}\n`);
    return {
      ...listening,
      tokenFiles,
      newTokens,
      store,
      app,
      stop: stopper(app, store, deviceConfig),
    };
  } catch (error) {
    await app?.close();
    await deviceConfig?.stop();
    await store.close();
    throw error;
  }
}

async function listen(
  app: FastifyInstance,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<{ readonly url: string; readonly port: number }> {
  try {
    await app.listen({ host, port });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const taken = code === 'EADDRINUSE';
    throw new AnalyticsError(
      taken ? 'ERR_PORT_TAKEN' : 'ERR_LISTEN',
      taken ? `port ${port}: taken` : `${host}:${port}: cannot listen (${code})`,
      { cause: error },
    );
  }
  const address = app.server.address();
  const actual = typeof address === 'object' && address !== null ? address.port : port;
  // An address that means "all of them" is none that a browser can open.
  const name = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  return { url: `http://${name.includes(':') ? `[${name}]` : name}:${actual}`, port: actual };
}

function stopper(
  app: FastifyInstance,
  store: TimeSeriesStore,
  deviceConfig: DeviceConfigService | undefined,
): () => Promise<void> {
  let stopping: Promise<void> | null = null;
  const stop = async (): Promise<void> => {
    const cut = setTimeout(() => app.server.closeAllConnections(), DRAIN_MS);
    try {
      await app.close();
    } finally {
      clearTimeout(cut);
      await deviceConfig?.stop();
      await store.close();
    }
  };
  return () => {
    stopping ??= stop();
    return stopping;
  };
}

function packageVersion(): string {
  const require = createRequire(import.meta.url);
  return (require('../package.json') as { version: string }).version;
}
