/** The areas that need the real process, which they share; after every batch it is looked at from outside. */

import type { Area, AreaName } from '../area.ts';
import type { Found } from '../finding.ts';
import { PlainCases, plainArea } from '../plain/plain-cases.ts';
import type { PlainTarget } from '../plain/plain-client.ts';
import { ConnectCases } from './connect-area.ts';
import { httpCase } from './http-cases.ts';
import { LiveBroker } from './live-broker.ts';

/** What the process may hold above what it held after its first batches: caches fill, code is compiled. */
const BOUND_BYTES = 96 << 20;
const WARM_UP = 10;
/** Batches between two looks at the log and the memory. */
const LOOK_EVERY = 10;

export async function liveAreas(names: readonly AreaName[]): Promise<Area[]> {
  const wanted = (['connects', 'http', 'websocket', 'plain'] as const).filter((name) =>
    names.includes(name),
  );
  if (wanted.length === 0) return [];
  const broker = await LiveBroker.start();
  const watch = new Watch(broker);
  return Promise.all(
    wanted.map(async (name, index): Promise<Area> => {
      const area = await areaOf(name, broker, watch);
      return {
        ...area,
        settle: async () => {
          const found = (await area.settle?.()) ?? [];
          // One of them looks for all.
          return index === 0 ? [...found, ...(await watch.look(name))] : found;
        },
        close: async () => {
          await area.close?.();
          if (index === 0) await watch.close();
        },
      };
    }),
  );
}

async function areaOf(
  name: 'connects' | 'http' | 'websocket' | 'plain',
  broker: LiveBroker,
  watch: Watch,
): Promise<Area> {
  if (name === 'http') {
    return { name, share: 15, width: 16, run: (_number, chance) => httpCase(broker, chance) };
  }
  if (name === 'plain') return plainArea(new PlainCases(await plainTarget(broker)));
  const cases = new ConnectCases(broker, name);
  watch.cases.push(cases);
  const share = name === 'connects' ? 20 : 5;
  return { name, share, width: 1, run: (number, chance) => cases.run(number, chance) };
}

/** What a device of this network has signed and never sends itself: were it taken from a plain client, the log had it. */
async function plainTarget(broker: LiveBroker): Promise<PlainTarget> {
  const { plain, network } = broker;
  const device = await broker.enrol(broker.newDevice());
  const topic = device.topic('telemetry');
  return { plain, network, envelope: () => ({ topic, bytes: device.seal() }) };
}

class Watch {
  readonly cases: ConnectCases[] = [];
  private readonly broker: LiveBroker;
  private batches = 0;
  private heldAtFirst = 0;

  constructor(broker: LiveBroker) {
    this.broker = broker;
  }

  async look(area: AreaName): Promise<Found[]> {
    const { broker } = this;
    const found: Found[] = [];
    const add = (message: string) => found.push({ area, number: -1, message, input: '' });
    for (const problem of broker.takeProblems()) add(problem);
    this.batches += 1;
    if (this.batches % LOOK_EVERY !== 1) return found;
    await broker.checkWitness().catch((error: Error) => add(error.message));
    found.push(...(await this.compareLog(add)));
    const { status, heldBytes } = await broker.look();
    const { received, accepted, duplicate, rejected } = status.verdicts;
    if (received !== accepted + duplicate + rejected)
      add(`counters: ${JSON.stringify(status.verdicts)}`);
    if ((status.verdicts.rejectedByCode.ERR_INTERNAL ?? 0) > 0)
      add('ERR_INTERNAL among the rejects');
    if (this.batches <= WARM_UP) this.heldAtFirst = heldBytes;
    const grown = heldBytes - this.heldAtFirst;
    if (grown > BOUND_BYTES) add(`memory of the process: ${grown >> 20} MiB more than at first`);
    return found;
  }

  async close(): Promise<void> {
    await this.broker.close();
  }

  /** Nobody but the witness and the devices of hostile sessions sends anything that is acceptable. */
  private async compareLog(add: (message: string) => void): Promise<Found[]> {
    const { broker, cases } = this;
    const entries = await broker.newEntries();
    const witness = Buffer.from(broker.witness.signer.publicKey).toString('hex');
    for (const { entry } of entries) {
      if (entry.type !== 'batch') continue;
      const device = Buffer.from(entry.device).toString('hex');
      if (device !== witness && !cases.some((each) => each.knows(device))) {
        add(`log: a forgery in the name of ${device}, seq ${entry.seq}`);
      }
    }
    return cases.flatMap((each) => each.compare(entries));
  }
}
