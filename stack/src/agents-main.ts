/**
 * The process of the agents that `npm start` runs: one Agent for each data folder given as an argument. Says
 * `ready` when all of them record, and `recorded` when the network has proved to have a device's first envelope.
 */

import { basename, join } from 'node:path';
import { Agent } from '@fieldproof/device-agent/agent';
import { loadConfig } from '@fieldproof/device-agent/config';
import { lineLog } from '@fieldproof/device-agent/log';
import { FieldproofError } from '@fieldproof/protocol/errors';
import { tellParent } from '@fieldproof/protocol/parent-node';

const agents: Agent[] = [];
let ending = false;

async function main(): Promise<void> {
  const folders = process.argv.slice(2);
  for (const dataDir of folders) {
    const config = await loadConfig(join(dataDir, 'agent.yaml'));
    const name = basename(dataDir);
    let told = false;
    const agent = new Agent({
      config,
      dataDir,
      log: lineLog({
        ...config.log,
        write: (line) => process.stderr.write(`${name} ${line}`),
        nowMs: Date.now,
      }),
      onStatus: (status) => {
        if (told || status.firstRecordedMs === null) return;
        told = true;
        tellParent({ event: 'recorded', name: config.name, atMs: status.firstRecordedMs });
      },
    });
    agents.push(agent);
    await agent.start();
  }
  tellParent({ event: 'ready', process: 'agents', agents: agents.length });
}

async function end(): Promise<void> {
  if (ending) return;
  ending = true;
  await Promise.allSettled(agents.map((agent) => agent.stop()));
  process.exit(0);
}

for (const signal of ['SIGTERM', 'SIGINT', 'disconnect']) process.on(signal, () => void end());
// A parent that was killed while this process loaded its modules: that event is past.
if (process.connected === false) process.exit(0);

main().catch((error: unknown) => {
  const code = error instanceof FieldproofError ? `${error.code}: ` : '';
  process.stderr.write(`error ${code}${(error as Error).message}\n`);
  process.exit(1);
});
