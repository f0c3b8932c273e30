/** A verifying thread. Started by `verify-worker.mjs`, since Node 20 loads no TypeScript into a worker by itself. */

import { parentPort, workerData } from 'node:worker_threads';
import { loadSignatureVerifier, type SignatureLibrary } from './signature-verifier.ts';
import { runJob, type VerifyJob } from './verify-job.ts';

/** What a thread is started with. */
export interface VerifyWorkerData {
  readonly network: string;
  readonly signatureLibrary: SignatureLibrary;
}

const { network, signatureLibrary } = workerData as VerifyWorkerData;
// Jobs that come meanwhile wait in the port, which delivers from the first listener on.
const { verify } = await loadSignatureVerifier(signatureLibrary);

parentPort!.on('message', (job: VerifyJob) => {
  const result = runJob(job, { network, verify });
  parentPort!.postMessage(result, [result.digests.buffer, result.stamps.buffer] as ArrayBuffer[]);
});
