/** A verifying thread. Started by `verify-worker.mjs`, since Node 20 loads no TypeScript into a worker by itself. */

import { parentPort, workerData } from 'node:worker_threads';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { runJob, type VerifyJob } from './verify-job.ts';

const { network } = workerData as { readonly network: string };

parentPort!.on('message', (job: VerifyJob) => {
  const result = runJob(job, { network, verify });
  parentPort!.postMessage(result, [result.digests.buffer, result.stamps.buffer] as ArrayBuffer[]);
});
