/**
 * Appends to the log in the folder given as argument until it is killed, and prints each index as soon as it is told
 * that it is durable.
 */

import { writeSync } from 'node:fs';
import { EvidenceLog } from '@fieldproof/broker/evidence/evidence-log';
import { envelope, ORIGIN, sign } from './open-log.ts';

const [folder = ''] = process.argv.slice(2);
const settings = { segmentBytes: 200_000, publishIntervalMs: 20, snapshotIntervalMs: 50 };
const log = await EvidenceLog.open({ folder, origin: ORIGIN, sign, settings });
writeSync(1, `ready ${log.size}\n`);
let seq = log.size;
function send(): void {
  const { entry, body } = envelope(seq, { bytes: 300 });
  seq += 1;
  log.appendBatch(entry, body, (outcome) => {
    if (outcome.kind !== 'accepted') throw new Error(outcome.kind);
    writeSync(1, `${outcome.index}\n`);
    send();
  });
}
for (let i = 0; i < 20; i += 1) send();
