/** A broker as the process under fire: settings come as JSON in FUZZ_BROKER, questions by IPC. */

import { startBroker } from '@fieldproof/broker/broker';
import type { BrokerOptions } from '@fieldproof/broker/config';

const broker = await startBroker(JSON.parse(process.env.FUZZ_BROKER!) as BrokerOptions);

process.on('message', (question) => {
  if (question === 'stop') {
    void broker.stop().then(() => process.exit(0));
    return;
  }
  globalThis.gc?.();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  process.send!({ status: broker.status(), heldBytes: heapUsed + arrayBuffers });
});
process.on('disconnect', () => process.exit(0));
process.send!({ addresses: broker.addresses, network: broker.network });
