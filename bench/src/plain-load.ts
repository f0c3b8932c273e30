/** What unsigned devices publish: readings as JSON, one a message or in arrays of 50, every point unique. */

import { BATCH_READINGS } from './fleet.ts';
import { publishPacket } from './mqtt-writer.ts';
import { createWalk } from './random-walk.ts';

export type PlainForm = 'arrays' | 'single';

export interface PlainOptions {
  readonly form: PlainForm;
  readonly readings: number;
}

/** The topic all of them use. */
export const PLAIN_TOPIC = 'bench/readings';
const DEVICES = 100;
const METRICS = 5;

/** PUBLISH packets, the devices in turn. */
export function plainPackets({ form, readings }: PlainOptions): Buffer[] {
  const perDevice = Math.ceil(readings / DEVICES / BATCH_READINGS);
  const startMs = Date.now() - perDevice * (BATCH_READINGS / METRICS) * 1000;
  const walks = Array.from({ length: DEVICES }, (_, n) => createWalk(n, startMs));
  const packets: Buffer[] = [];
  for (let left = readings, n = 0; left > 0; n = (n + 1) % DEVICES) {
    const batch = walks[n]!(BATCH_READINGS / METRICS)
      .slice(0, left)
      .map(({ metric, value, timeMs }) => ({ device: `dev${n}`, metric, value, ts: timeMs }));
    left -= batch.length;
    const bodies = form === 'arrays' ? [batch] : batch;
    for (const body of bodies) {
      packets.push(publishPacket(PLAIN_TOPIC, Buffer.from(JSON.stringify(body))));
    }
  }
  return packets;
}
