/** `fieldproof-store`: puts readings into InfluxDB or the control process, and acknowledges them. */

import type { AnalyticsError } from '@fieldproof/analytics/errors';
import type { ReadingTable } from '@fieldproof/compute/readings';
import { FlowsError } from '../errors.ts';
import { forgetConsumer, hub, isHandle } from '../hub.ts';
import type { Message, NodeApi, NodeBase, NodeDef } from '../node-red-api.ts';
import { PlainBacklog } from '../plain-backlog.ts';
import type { NetworkNode } from './fieldproof-network.ts';

const STATUS_MS = 1000;

export default function register(RED: NodeApi): void {
  function store(this: NodeBase, def: NodeDef & { network: string }) {
    RED.nodes.createNode(this, def);
    const network = RED.nodes.getNode(def.network) as NetworkNode | null;
    let failure: AnalyticsError | undefined;
    let lines = 0;
    let refused = 0;
    let open = 0;
    const backlog = new PlainBacklog();
    const onAttempt = (error: AnalyticsError | undefined) => {
      failure = error;
      if (error === undefined) hub().problems.delete(this.id);
      else hub().problems.set(this.id, error);
    };
    network?.attempts.add(onAttempt);

    /** Resolves when the tables are stored; lines that were refused for good are an error after the fact. */
    const write = async (tables: readonly ReadingTable[]): Promise<Error | undefined> => {
      if (network === null) throw new FlowsError('ERR_NETWORK_INCOMPLETE', 'network: choose one');
      open++;
      try {
        const result = await network.writer().write(tables);
        lines += result.lines - result.refused;
        refused += result.refused;
        return result.error;
      } finally {
        open--;
      }
    };
    const storeHandle = async (id: string): Promise<Error | undefined> => {
      const batch = hub().batches.get(id);
      if (batch === undefined) {
        throw new FlowsError('ERR_HANDLE_UNKNOWN', `handle ${id}: expected a batch, got none`);
      }
      if (!batch.take(this.id)) return undefined;
      try {
        const error = await write(batch.tables);
        batch.acknowledge(this.id);
        return error;
      } catch (error) {
        batch.letGo(this.id);
        throw error;
      }
    };
    const storePlain = async (message: Message): Promise<Error | undefined> => {
      let refusal: Error | undefined;
      await backlog.take(message, async (tables) => {
        refusal = await write(tables);
        return true;
      });
      return refusal;
    };

    this.on('input', (message: Message, _send, done) => {
      const { payload } = message;
      const work = isHandle(payload) ? storeHandle(payload.id) : storePlain(message);
      work.then(done, (error: Error) => {
        // The flow ends or is deployed anew; what came from the evidence comes again.
        const isClosed = (error as { code?: string }).code === 'ERR_STORE_CLOSED';
        if (isClosed && (isHandle(payload) || message.fieldproof?.origin)) done();
        else done(error);
      });
    });

    const timer = setInterval(() => {
      const problem = backlog.problem ?? failure;
      if (problem !== undefined) {
        const { code, message } = problem;
        this.status({
          fill: 'red',
          shape: 'ring',
          text: `${code} ${message}`.trim().slice(0, 120),
        });
      } else if (refused > 0) {
        const text = `${refused} lines refused and set aside · ${lines} stored`;
        this.status({ fill: 'red', shape: 'dot', text });
      } else {
        const waiting = open > 0 ? ` · ${open} on their way` : '';
        this.status({ fill: 'green', shape: 'dot', text: `${lines} lines stored${waiting}` });
      }
    }, STATUS_MS);
    this.on('close', (_removed, done) => {
      clearInterval(timer);
      network?.attempts.delete(onAttempt);
      hub().problems.delete(this.id);
      forgetConsumer(this.id);
      done();
    });
  }
  RED.nodes.registerType('fieldproof-store', store as never);
}
