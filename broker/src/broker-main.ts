/**
 * The broker as a process: one `ready` line on standard output (and to the parent, where there is a channel), the log
 * on standard error, a clean end on SIGTERM and SIGINT. docs/spec/processes.md section 5.
 *
 * Started by itself it takes its settings from the environment; `fieldproof-broker start` gives it flags as well.
 */

import { pathToFileURL } from 'node:url';
import { tellParent } from '@fieldproof/protocol/parent-node';
import { startBroker } from './broker.ts';
import { type BrokerConfig, CONFIG_DEFAULTS, readEnvironment, resolveConfig } from './config.ts';
import { describeFailure } from './errors.ts';
import { letHeapGrow } from './heap-growth.ts';
import { packetWriterOfAedes, packLengthCache } from './mqtt/length-cache.ts';

/** A stop that takes longer is given up: what was acknowledged is durable anyway. */
const STOP_LIMIT_MS = 9000;

/** Runs a broker until a signal ends the process. Never rejects: a failed start sets the exit code. */
export async function runBroker(settings: object): Promise<void> {
  letHeapGrow();
  packLengthCache(packetWriterOfAedes());
  let stopRequested = false;
  let stop: (() => Promise<void>) | null = null;
  const end = () => {
    if (stopRequested) return;
    stopRequested = true;
    setTimeout(() => process.exit(1), STOP_LIMIT_MS).unref();
    if (stop !== null) finish(stop);
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  process.on('disconnect', end);
  let reload: () => Promise<void> = async () => {};
  // Certificates are read again; without a handler the signal would end the process.
  process.on('SIGHUP', () => void reload());
  // A parent that was killed while this process loaded its modules: that event is past.
  if (process.connected === false) process.exit(0);
  try {
    const config: BrokerConfig = resolveConfig(settings);
    const broker = await startBroker(config);
    stop = broker.stop;
    reload = broker.reloadCertificates;
    if (stopRequested) {
      finish(stop);
      return;
    }
    const { network, addresses } = broker;
    const ready = {
      event: 'ready',
      process: 'broker',
      network,
      addresses,
      dataDir: config.dataDir,
    };
    process.stdout.write(`${JSON.stringify(ready)}\n`);
    tellParent(ready);
  } catch (error) {
    process.stderr.write(`${describeFailure(error)}\n`);
    process.exit(1);
  }
}

function finish(stop: () => Promise<void>): void {
  stop().then(
    () => process.exit(0),
    (error: unknown) => {
      process.stderr.write(`${describeFailure(error)}\n`);
      process.exit(1);
    },
  );
}

const started = process.argv[1];
if (started !== undefined && import.meta.url === pathToFileURL(started).href) {
  await runBroker({ dataDir: CONFIG_DEFAULTS.dataDir, ...readEnvironment(process.env) });
}
