#!/usr/bin/env node
import { tellParent } from '@fieldproof/protocol/parent-node';
/**
 * The flows process (docs/spec/processes.md): Node-RED with Fieldproof's nodes until it is told to end.
 *
 * Says `{"event":"ready",…}` on stdout and to its parent when flows run. Ends on SIGTERM, SIGINT, or when its parent
 * is gone. Fails with one line `error ERR_…: …`.
 */
import { loadConfig } from './config.ts';
import { FLOWS_ERRORS, FlowsError } from './errors.ts';
import { logLines } from './log-lines.ts';
import { type FlowsRuntime, startRuntime } from './runtime.ts';

const STOP_LIMIT_MS = 9000;
const log = logLines((line) => process.stdout.write(line), Date.now);

let runtime: FlowsRuntime | undefined;
let isEnding = false;

function end(why: string): void {
  if (isEnding) return;
  isEnding = true;
  log('info', `ending: ${why}`);
  // Whatever hangs: cursors are behind what is stored, never ahead.
  setTimeout(() => process.exit(1), STOP_LIMIT_MS).unref();
  (runtime?.stop() ?? Promise.resolve()).then(
    () => process.exit(0),
    (error: Error) => {
      log('error', error.message);
      process.exit(1);
    },
  );
}

process.on('SIGTERM', () => end('SIGTERM'));
process.on('SIGINT', () => end('SIGINT'));
process.on('disconnect', () => end('the parent process is gone'));
// Killed while this process loaded its modules: that event is past.
if (process.connected === false) process.exit(0);

try {
  const config = loadConfig(process.argv.slice(2), process.env);
  runtime = await startRuntime({
    dataDir: config.dataDir,
    host: config.host,
    port: config.port,
    log,
    installation: {
      brokerUrl: config.brokerUrl,
      tailTokenFile: config.tailTokenFile || undefined,
      storeUrl: config.controlUrl,
      storeTokenFile: config.controlTokenFile || undefined,
      influxUrl: config.influxUrl || undefined,
      influxDatabase: config.influxDatabase || undefined,
      maxUnstoredRows: config.maxUnstoredRows,
      maxWaitingReadings: config.maxWaitingReadings,
    },
  });
  const { url, passwordFile, isPasswordNew } = runtime;
  const ready = { event: 'ready', url, user: 'admin', passwordFile, passwordIsNew: isPasswordNew };
  process.stdout.write(`${JSON.stringify(ready)}\n`);
  tellParent(ready);
} catch (error) {
  const known = error instanceof FlowsError ? error : undefined;
  const code = known?.code ?? 'ERR_FLOWS_START';
  const { message } = error as Error;
  process.stderr.write(`error ${code}: ${message} ${FLOWS_ERRORS[code].remedy}\n`);
  process.exit(1);
}
