/** Cases against the plain listener of the real process; beside them somebody who sees everything that one may see. */

import type { Area } from '../area.ts';
import type { Chance } from '../chance.ts';
import type { Finding, Found } from '../finding.ts';
import { conversationCase } from './conversation.ts';
import { FuzzClient, type PlainTarget } from './plain-client.ts';
import { stormCase } from './storm.ts';
import { takeOverCase, willCase } from './will-cases.ts';

const FILTERS = ['#', '$SYS/#', '+/#', '$share/g/#', 'fp/#'];

/** As an area of its own, without the broker that it is against. */
export function plainArea(cases: PlainCases): Area {
  return {
    ...{ name: 'plain', share: 40, width: 16 },
    run: (number, chance) => cases.run(number, chance),
    settle: () => cases.look(),
    close: () => cases.close(),
  };
}

export class PlainCases {
  private readonly target: PlainTarget;
  private watcher: Promise<FuzzClient> | null = null;

  constructor(target: PlainTarget) {
    this.target = target;
  }

  async run(number: number, chance: Chance): Promise<void> {
    this.watcher ??= this.watch();
    await this.watcher;
    const way = chance.int(10);
    if (way < 5) await stormCase(this.target, number, chance);
    else if (way < 8) await conversationCase(this.target, number, chance);
    else if (way === 8) await willCase(this.target, number, chance);
    else await takeOverCase(this.target, number, chance);
  }

  /** What somebody got who may not, or that nobody is served any more. */
  async look(): Promise<readonly Found[]> {
    const watcher = await this.watcher?.catch(() => null);
    // The cases have said that nobody is let in.
    if (!watcher) return [];
    try {
      await watcher.ping();
      return [];
    } catch (error) {
      this.watcher = null;
      watcher.wire.close();
      const { message, input } = error as Finding;
      return [{ area: 'plain', number: -1, message: `watcher: ${message}`, input }];
    } finally {
      watcher.take();
      watcher.wire.packets.length = 0;
    }
  }

  async close(): Promise<void> {
    (await this.watcher?.catch(() => null))?.wire.close();
  }

  private async watch(): Promise<FuzzClient> {
    const client = await new FuzzClient(this.target).enter({ clientId: 'watcher' });
    const filters = [...FILTERS, `fp/1/${this.target.network}/d/+/state`];
    const subscriptions = filters.map((topic) => ({ topic, qos: 0 as const }));
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions });
    await client.ping();
    return client;
  }
}
