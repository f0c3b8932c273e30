/**
 * A process of agents that make load. Tells its parent how far each is, several times a second; ends on SIGTERM and
 * when its parent is gone.
 *
 * Argument: the JSON of a {@link LoadOrder}.
 */

import { basename, join } from 'node:path';
import { Agent } from '@fieldproof/device-agent/agent';
import { checkConfig } from '@fieldproof/device-agent/config';
import { lineLog } from '@fieldproof/device-agent/log';
import type { AgentStatus } from '@fieldproof/device-agent/status';
import { fastClock, steppingClock } from './stepping-clock.ts';

export interface LoadOrder {
  readonly folders: readonly string[];
  /** 0: only what is left in the outboxes is delivered. */
  readonly sensors: number;
  /** Seconds a second, for all clocks; null: the clocks of the folders. */
  readonly rate: number | null;
  /** Where the wall clock of fast agents begins, Unix ms. */
  readonly startWallMs: number;
}

/** What the parent is told of each agent. */
export interface Progress {
  readonly name: string;
  readonly isOnline: boolean;
  readonly sealed: number;
  readonly readings: number;
  readonly pending: number;
  /** Entry of the newest receipt; it grows with receipts. */
  readonly receipt: number;
}

const TELL_EVERY_MS = 100;
const SAMPLE_EVERY_MS = 100;
const DAY_MS = 86_400_000;

const agents: { readonly name: string; readonly agent: Agent }[] = [];
let ending = false;

async function main(): Promise<void> {
  const order = JSON.parse(process.argv[2] ?? '') as LoadOrder;
  for (const dataDir of order.folders) {
    const name = basename(dataDir);
    const { rate, startWallMs } = order;
    const clock =
      rate === null ? steppingClock(join(dataDir, 'clock')) : fastClock({ rate, startWallMs });
    const agent = new Agent({
      config: { ...(await checkConfig(configuration(order, name))), source: 'simulated' },
      dataDir,
      clock,
      statusFile: false,
      log: lineLog({
        level: 'info',
        format: 'text',
        write: (line) => process.stderr.write(`${name} ${line}`),
        nowMs: Date.now,
      }),
    });
    await agent.start();
    agents.push({ name, agent });
  }
  process.send?.({ event: 'ready' });
  setInterval(() => {
    if (!ending) process.send?.({ event: 'progress', agents: agents.map(progressOf) });
  }, TELL_EVERY_MS);
}

/** Everything is quick, so that a minute of the test holds hours of a device's life. */
function configuration({ sensors, rate }: LoadOrder, name: string): object {
  const speed = rate ?? 1;
  return {
    name,
    sensors: Array.from({ length: sensors }, (_, i) => ({
      ...{ driver: 'simulated', profile: `room${i}`, seed: hash(name) + i },
      intervalMs: SAMPLE_EVERY_MS * speed,
    })),
    batch: { sealEveryMs: 200 * speed, maxReadings: 500 },
    outbox: { fsyncEveryMs: 100 * speed },
    link: {
      ...{ heartbeatMs: 5000, keepAliveSeconds: 5, timeoutMs: Math.min(3000 * speed, 300_000) },
      ...{ backoffMinMs: 50 * speed, backoffMaxMs: 1000 * speed },
    },
    // A fast clock is behind the network's until the end, and says so by its bound.
    clock: rate === null ? {} : { maxErrorMs: DAY_MS },
  };
}

function progressOf({ name, agent }: (typeof agents)[number]): Progress {
  const { link, counts, lastReceipt }: AgentStatus = agent.status();
  return {
    ...{ name, isOnline: link.state === 'online', sealed: counts.sealed },
    ...{ readings: counts.readings, pending: counts.pending },
    receipt: lastReceipt?.entry ?? -1,
  };
}

function hash(text: string): number {
  return [...text].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) >>> 1, 7);
}

async function end(): Promise<void> {
  if (ending) return;
  ending = true;
  await Promise.allSettled(agents.map(({ agent }) => agent.stop()));
  process.exit(0);
}

for (const signal of ['SIGTERM', 'SIGINT', 'disconnect']) process.on(signal, () => void end());
if (process.connected === false) process.exit(0);

main().catch((error: unknown) => {
  process.stderr.write(`error ${(error as Error).message}\n`);
  process.exit(1);
});
