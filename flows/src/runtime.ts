/**
 * Node-RED within this process: express and HTTP around it, its settings, the first flow, and a start that either
 * serves flows or fails with a code. One runtime for each process, as Node-RED allows no more.
 */
import { copyFile, mkdir, readlink, rm, stat, symlink } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import bcrypt from 'bcryptjs';
import express from 'express';
import { basicAuth } from './basic-auth.ts';
import { loadEditorSecrets } from './editor-secrets.ts';
import { FlowsError } from './errors.ts';
import { type Handle, hub, type Installation, stopServices } from './hub.ts';
import type { LogLine } from './log-lines.ts';
import type { NodeRed } from './node-red-api.ts';
import { plainBatch, plainReadings } from './plain-readings.ts';
import { HTTP_NODE_ROOT, nodeRedSettings } from './settings.ts';

const BCRYPT_ROUNDS = 10;
const START_TIMEOUT_MS = 50_000;
const PACKAGE = dirname(dirname(fileURLToPath(import.meta.url)));

export interface RuntimeOptions {
  /** Everything durable lies below it. */
  readonly dataDir: string;
  readonly host: string;
  /** 0 takes any free one. */
  readonly port: number;
  /** What network nodes leave empty. */
  readonly installation: Partial<Omit<Installation, 'dataDir'>>;
  readonly log: LogLine;
}

export interface FlowsRuntime {
  /** Of the editor. */
  readonly url: string;
  readonly passwordFile: string;
  /** Whether the password was made by this start. */
  readonly isPasswordNew: boolean;
  /** Ends within seconds; cursors and windows are durable then. */
  stop(): Promise<void>;
}

/**
 * Starts Node-RED and resolves when its flows run.
 *
 * @throws {FlowsError} ERR_FLOWS_PORT_TAKEN, ERR_FLOWS_NODE_MISSING, ERR_FLOWS_START.
 */
export async function startRuntime(options: RuntimeOptions): Promise<FlowsRuntime> {
  const { dataDir, host, port, installation, log } = options;
  const userDir = join(dataDir, 'node-red');
  await prepareUserDir(userDir);
  const secrets = await loadEditorSecrets(dataDir, userDir);
  const passwordHash = await bcrypt.hash(secrets.password, BCRYPT_ROUNDS);
  Object.assign(hub().installation, installation, { dataDir: join(dataDir, 'state') });

  const app = express();
  app.disable('x-powered-by');
  const server = createServer(app);
  // The port first: when it is taken nothing else has happened.
  await listen(server, host, port);
  const RED = createRequire(import.meta.url)('node-red') as NodeRed;
  try {
    RED.init(
      server,
      nodeRedSettings({
        userDir,
        passwordHash,
        credentialSecret: secrets.credentialSecret,
        log,
        functionGlobals: { readings: readingsOfHandle, batches: batchesOfHandle },
      }),
    );
    app.use(HTTP_NODE_ROOT, basicAuth(passwordHash), RED.httpNode);
    app.use('/', RED.httpAdmin);
    const started = flowsStarted(RED);
    started.catch(() => {});
    await RED.start();
    await started;
  } catch (error) {
    await stopServices().catch(() => {});
    server.close();
    server.closeAllConnections();
    if (error instanceof FlowsError) throw error;
    throw new FlowsError('ERR_FLOWS_START', `Node-RED: ${(error as Error).message}`, {
      cause: error,
    });
  }
  const address = server.address() as AddressInfo;
  let stopping: Promise<void> | undefined;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${address.port}`,
    passwordFile: secrets.passwordFile,
    isPasswordNew: secrets.isNew,
    stop: () => {
      stopping ??= stop(RED, server);
      return stopping;
    },
  };
}

async function stop(RED: NodeRed, server: Server): Promise<void> {
  server.close();
  // Cursors first: closing nodes gives up what is on its way, which then comes again at the next start.
  await stopServices();
  await RED.stop();
  server.closeAllConnections();
}

async function prepareUserDir(userDir: string): Promise<void> {
  const scope = join(userDir, 'node_modules', '@fieldproof');
  await mkdir(scope, { recursive: true, mode: 0o700 });
  await linkPackage(join(scope, 'flows'));
  const flows = join(userDir, 'flows.json');
  const exists = await stat(flows).then(
    () => true,
    () => false,
  );
  // Only the first time: from then on the flows are the user's.
  if (!exists) await copyFile(join(import.meta.dirname, 'default-flow.json'), flows);
}

/** Where Node-RED finds the nodes. A link of an installation elsewhere is replaced; a folder is the user's. */
async function linkPackage(path: string): Promise<void> {
  const target = await readlink(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT' && error.code !== 'EINVAL') throw error;
    return error.code === 'EINVAL' ? PACKAGE : undefined;
  });
  if (target === PACKAGE) return;
  if (target !== undefined) await rm(path);
  await symlink(PACKAGE, path, 'dir');
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const taken = cause.code === 'EADDRINUSE';
      const code = taken ? 'ERR_FLOWS_PORT_TAKEN' : 'ERR_FLOWS_START';
      const got = taken ? 'one that is taken' : cause.code;
      reject(new FlowsError(code, `port ${port}: expected a free port, got ${got}`, { cause }));
    });
    server.listen(port, host, resolve);
  });
}

/** Resolves when flows run. Node-RED starts none while a type is missing, and does not end either. */
function flowsStarted(RED: NodeRed): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new FlowsError('ERR_FLOWS_START', 'Node-RED: expected flows to start, got nothing'));
    }, START_TIMEOUT_MS);
    const end = (finish: () => void) => {
      clearTimeout(timer);
      RED.events.removeListener('runtime-event', onEvent as never);
      finish();
    };
    const onEvent = ({
      id,
      payload,
    }: {
      id?: string;
      payload?: { error?: string; types?: string[] };
    }) => {
      if (id !== 'runtime-state' || payload?.error !== 'missing-types') return;
      const types = (payload.types ?? []).join(', ');
      const message = `flows: expected every type of node to be installed, got none of ${types}`;
      end(() => reject(new FlowsError('ERR_FLOWS_NODE_MISSING', message)));
    };
    RED.events.on('runtime-event', onEvent as never);
    RED.events.once('flows:started', (() => end(resolve)) as never);
  });
}

/** For function nodes: `global.get('fieldproof').readings(msg.payload)`. */
function readingsOfHandle(handle: Handle): object[] {
  return (hub().batches.get(handle?.id)?.tables ?? []).flatMap((table) => [
    ...plainReadings(table),
  ]);
}

/** For function nodes: the readings behind a handle, an object for each device and profile. */
function batchesOfHandle(handle: Handle): object[] {
  return (hub().batches.get(handle?.id)?.tables ?? []).map(plainBatch);
}
