/** `fieldproof-telemetry`: the evidence log's readings as messages. A thin shell around `telemetry-service.ts`. */

import { consumersBehind, type NodeConfig } from '../consumers.ts';
import type { NodeApi, NodeBase, NodeDef } from '../node-red-api.ts';
import { type OutputMode, statusOf, TelemetryService } from '../telemetry-service.ts';
import type { NetworkNode } from './fieldproof-network.ts';

interface TelemetryDef extends NodeDef {
  network: string;
  mode?: OutputMode;
  rate?: number | string;
}

const STATUS_MS = 1000;

export default function register(RED: NodeApi): void {
  function telemetry(this: NodeBase, def: TelemetryDef) {
    RED.nodes.createNode(this, def);
    const network = RED.nodes.getNode(def.network) as NetworkNode | null;
    let service: TelemetryService | undefined;
    let isClosed = false;
    const show = () => {
      if (service !== undefined) this.status(statusOf(service.status, Date.now()));
    };
    const attach = () => {
      const configs: NodeConfig[] = [];
      RED.nodes.eachNode((config) => configs.push(config as NodeConfig));
      const send = (message: object) => this.send(message);
      service?.attach({ send, status: () => {} }, consumersBehind(configs, this.id));
      show();
    };
    const begin = async () => {
      if (network === null) throw new Error('network: choose one in the editor');
      service = await TelemetryService.acquire({
        id: this.id,
        mode: def.mode ?? 'handle',
        rate: Math.max(1, Number(def.rate) || 5000),
        folder: network.folder,
        tail: network.tail(),
        log: (error) => this.warn(`${(error as { code?: string }).code ?? ''} ${error.message}`),
      });
      if (isClosed) service.detach();
      else attach();
    };
    // Wires can be followed, and messages arrive, once all flows are there.
    const started = () => {
      if (service !== undefined) return attach();
      begin().catch((error: Error) => {
        this.status({ fill: 'red', shape: 'ring', text: error.message });
        this.error(error);
      });
    };
    RED.events.on('flows:started', started);
    const timer = setInterval(show, STATUS_MS);
    this.on('close', (removed: boolean, done: () => void) => {
      isClosed = true;
      clearInterval(timer);
      RED.events.removeListener('flows:started', started);
      if (!removed) service?.detach();
      (removed ? (service?.stop() ?? Promise.resolve()) : Promise.resolve()).finally(done);
    });
  }
  RED.nodes.registerType('fieldproof-telemetry', telemetry as never);
}
