/**
 * A load without end, as a process: devices whose batches are signed when they are due, so that it needs no more
 * memory the longer it runs. The time of the readings is now. Orders over IPC: `prepare` → `prepared`, `run` → `result`.
 */

import { encodeTelemetry } from '@fieldproof/protocol/readings-encode';
import { createFleet, type FleetDevice } from './fleet.ts';
import { type MqttWriter, openWriter } from './mqtt-writer.ts';
import { randomFrom, WALK_METRICS } from './random-walk.ts';

export interface LivePlan {
  readonly http: string;
  readonly mqttPort: number;
  readonly joinLine: string;
  readonly devices: number;
}

export interface LiveRun {
  readonly seconds: number;
  /** Goes on until so many are sent, in at most `maxSeconds`. Default 0. */
  readonly minMessages?: number;
  readonly maxSeconds?: number;
  /** Messages per second; null for as many as the window allows. */
  readonly rate: number | null;
  /** Most unacknowledged messages, over all devices. */
  readonly window: number;
}

export interface LiveResult {
  /** Sent and acknowledged. */
  readonly messages: number;
  /** First PUBLISH to last PUBACK. */
  readonly seconds: number;
  readonly cpuPercent: number;
}

export type LiveOrder =
  | { readonly order: 'prepare'; readonly plan: LivePlan }
  | ({ readonly order: 'run' } & LiveRun);

interface Sender {
  readonly device: FleetDevice;
  readonly writer: MqttWriter;
  readonly random: () => number;
  readonly levels: number[];
  seq: number;
  lastMs: number;
}

const INSTANTS = 10;
const TICK_MS = 4;
const MAX_ID = 65_535;

const senders: Sender[] = [];
let inFlight = 0;
let acknowledged = 0;
let onAcknowledged: () => void = () => {};

process.on('disconnect', () => process.exit(1));
process.on('SIGTERM', () => process.exit(0));
process.on('message', (order: LiveOrder) => {
  if (order.order === 'prepare') prepare(order.plan).catch(fail);
  else if (order.order === 'run') run(order).catch(fail);
});
process.send!({ event: 'ready' });

async function prepare(plan: LivePlan): Promise<void> {
  const fleet = await createFleet({ ...plan, batchesPerDevice: 0, format: 'senml' });
  for (const [n, device] of fleet.entries()) {
    const { password, birth } = await device.login();
    const writer = await openWriter({
      port: plan.mqttPort,
      clientId: device.id,
      username: device.id,
      password,
      subscribe: `fp/1/${device.network}/d/${device.id}/+`,
      onPuback: () => {
        inFlight -= 1;
        acknowledged += 1;
        onAcknowledged();
      },
      onIdle: () => {},
      onError: fail,
    });
    const levels = WALK_METRICS.map(([, , level]) => level);
    const random = randomFrom(n);
    senders.push({ device, writer, random, levels, seq: 1, lastMs: Date.now() - 1000 });
    inFlight += 1;
    const settled = acknowledgedAll();
    writer.publish(birth, MAX_ID);
    await settled;
  }
  process.send!({ event: 'prepared' });
}

async function run({
  seconds,
  rate,
  window,
  minMessages = 0,
  maxSeconds = 0,
}: LiveRun): Promise<void> {
  const start = performance.now();
  const cpu = process.cpuUsage();
  const before = acknowledged;
  let sent = 0;
  for (;;) {
    const elapsed = (performance.now() - start) / 1000;
    if (elapsed >= seconds && (sent >= minMessages || elapsed >= maxSeconds)) break;
    const due = rate === null ? Number.POSITIVE_INFINITY : Math.floor(elapsed * rate);
    // A few at a time, so that PUBACKs are read in between.
    for (let i = 0; i < 64 && sent < due && inFlight < window; i++) {
      send(senders[sent % senders.length]!);
      sent += 1;
    }
    const isBehind = sent < due && inFlight < window;
    await (isBehind ? turn() : new Promise((resolve) => setTimeout(resolve, TICK_MS)));
  }
  await acknowledgedAll();
  const took = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const result: LiveResult = {
    messages: acknowledged - before,
    seconds: took,
    cpuPercent: (user + system) / 1e4 / took,
  };
  process.send!({ event: 'result', ...result });
}

/** Ten instants of five metrics, spread over the time since the batch before. */
function send(sender: Sender): void {
  const { device, writer, random, levels } = sender;
  const now = Date.now();
  const from = Math.max(sender.lastMs, now - INSTANTS * 1000);
  const step = Math.max(1, Math.floor((now - from) / INSTANTS));
  const readings = Array.from({ length: INSTANTS }, (_, i) =>
    WALK_METRICS.map(([metric, unit], m) => {
      levels[m]! += Math.floor(random() * 21) - 10;
      return {
        profile: 'air',
        metric,
        unit,
        timeMs: from + (i + 1) * step,
        value: levels[m]! / 100,
      };
    }),
  ).flat();
  sender.lastMs = from + INSTANTS * step;
  const [batch] = encodeTelemetry(readings, { format: 'senml' });
  const { seq } = sender;
  sender.seq += 1;
  inFlight += 1;
  writer.publish(device.telemetry(seq, batch!), (seq % (MAX_ID - 1)) + 1);
}

/** Resolves when nothing is unacknowledged. */
function acknowledgedAll(): Promise<void> {
  return new Promise((resolve) => {
    onAcknowledged = () => {
      if (inFlight > 0) return;
      onAcknowledged = () => {};
      resolve();
    };
    if (inFlight === 0) onAcknowledged();
  });
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function fail(error: unknown): void {
  process.send!({ event: 'failed', message: String((error as Error).stack ?? error) });
}
