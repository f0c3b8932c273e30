/**
 * The unsigned pipeline, JSON → Mosquitto → Node-RED → InfluxDB, at a given rate: does it store everything, in time?
 * And the highest rate at which it does.
 */

import { startModule } from './child.ts';
import { BATCH_READINGS } from './fleet.ts';
import type { InfluxServer } from './influx-server.ts';
import { startMosquitto } from './mosquitto.ts';
import { startLoad } from './network-under-test.ts';
import type { PlainForm } from './plain-load.ts';
import { temporaryFolder, withResources } from './resources.ts';

export const PEER_DATABASE = 'peer';
export const PEER_MEASUREMENT = 'reading';

export interface PeerOptions {
  readonly mosquitto: string;
  readonly influx: InfluxServer;
  readonly form: PlainForm;
}

export interface Trial {
  /** Readings per second that were asked for. */
  readonly rate: number;
  /** Readings per second, first PUBLISH to the last one stored. */
  readonly stored: number;
  readonly lostPercent: number;
  /** Nothing lost, the rate kept, and the backlog gone in time. */
  readonly passed: boolean;
}

const CLIMB_MS = 1000;
const WINDOW = 1000;
/** What is left when the last message was published must be stored in this time. */
const BACKLOG_MS = 900;
/** Nothing more is expected after this time without progress. */
const STALLED_MS = 2000;
/** The publisher must keep within this of the rate. */
const RATE_SLACK = 0.03;
const POLL_MS = 100;

/** Starts a fresh broker and a fresh Node-RED, and publishes at `rate` readings per second for some seconds. */
export function tryPeer(options: PeerOptions, rate: number, seconds: number): Promise<Trial> {
  return withResources(async (own) => {
    const { mosquitto, influx, form } = options;
    await influx.dropDatabase(PEER_DATABASE);
    await influx.createDatabase(PEER_DATABASE);
    const { mqttPort } = await startMosquitto(own, mosquitto);
    const flows = await startModule({
      name: 'plain Node-RED',
      module: '@fieldproof/bench/peer-flow-main',
      env: {
        PEER_USER_DIR: temporaryFolder(own),
        PEER_MQTT_PORT: String(mqttPort),
        PEER_INFLUX_PORT: new URL(influx.url).port,
      },
    });
    own(() => flows.stop());
    const each = form === 'arrays' ? BATCH_READINGS : 1;
    const held = rate * (0.55 * (CLIMB_MS / 1000) + seconds);
    const messages = Math.max(1, Math.round(held / each));
    const readings = messages * each;
    const load = await startLoad(own, { type: 'plain', mqttPort, form, readings });
    const paced = { window: WINDOW, rate: rate / each, climbMs: CLIMB_MS };
    const result = await load.run({ order: 'run', messages, ...paced });
    const end = await storedBy(influx, readings);
    const planned = CLIMB_MS / 1000 + seconds;
    const took = (result.lastSentMs - result.firstSentMs) / 1000;
    return {
      rate,
      stored: end.count / ((end.atMs - result.firstSentMs) / 1000),
      lostPercent: 100 * (1 - end.count / readings),
      passed:
        end.count === readings &&
        took <= planned * (1 + RATE_SLACK) + 0.05 &&
        end.atMs - result.lastSentMs <= BACKLOG_MS,
    };
  });
}

/**
 * The highest of the levels that passes, by bisection; one that fails is tried again, since noise fails trials but
 * passes none.
 *
 * @returns that trial, or null when none passed.
 */
export async function highestLossless(
  levels: readonly number[],
  attempt: (rate: number) => Promise<Trial>,
): Promise<Trial | null> {
  let best: Trial | null = null;
  let low = 0;
  let high = levels.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const rate = levels[middle]!;
    const first = await attempt(rate);
    const trial = first.passed ? first : await attempt(rate);
    if (trial.passed) {
      best = trial;
      low = middle + 1;
    } else high = middle - 1;
  }
  return best;
}

/** Levels that grow by `factor`, rounded to whole hundreds. */
export function levelsBetween(from: number, to: number, factor: number): number[] {
  const levels: number[] = [];
  for (let rate = from; rate <= to; rate *= factor) levels.push(Math.round(rate / 100) * 100);
  return levels;
}

/** When the last of `expected` values was seen, or the last that came at all. */
async function storedBy(
  influx: InfluxServer,
  expected: number,
): Promise<{ readonly count: number; readonly atMs: number }> {
  let count = 0;
  let atMs = Date.now();
  while (count < expected && Date.now() - atMs < STALLED_MS) {
    const now = await influx.count(PEER_DATABASE, PEER_MEASUREMENT, 'value');
    if (now > count) {
      count = now;
      atMs = Date.now();
    }
    if (count < expected) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return { count, atMs };
}
