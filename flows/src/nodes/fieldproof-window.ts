/** `fieldproof-window`: mean, min, max and the like of each minute (or any length). A shell around `window-service.ts`. */

import { join } from 'node:path';
import { windowTables } from '@fieldproof/compute/window-tables';
import { consumersBehind, type NodeConfig } from '../consumers.ts';
import { FlowsError } from '../errors.ts';
import { forgetConsumer, type Handle, hub, isHandle } from '../hub.ts';
import { stateFolder } from '../network-settings.ts';
import type { Message, NodeApi, NodeBase, NodeDef } from '../node-red-api.ts';
import { tablesOf } from '../plain-readings.ts';
import { type RowGroup, WindowService } from '../window-service.ts';

interface WindowDef extends NodeDef {
  /** Seconds, as texts or numbers. */
  size?: number | string;
  grace?: number | string;
  horizon?: number | string;
}

const TICK_MS = 1000;
const RESEND_MS = 30_000;

export default function register(RED: NodeApi): void {
  function windowNode(this: NodeBase, def: WindowDef) {
    RED.nodes.createNode(this, def);
    const sizeS = Number(def.size ?? 60);
    const graceS = Number(def.grace ?? 5);
    const horizonS = Math.max(graceS, Number(def.horizon ?? 7200));
    const suffix = `_${durationName(sizeS)}`;
    const opening = WindowService.open({
      path: join(stateFolder(RED.settings.userDir), `window-${this.id}.state`),
      windowMs: Math.round(sizeS * 1000),
      graceMs: graceS * 1000,
      horizonMs: horizonS * 1000,
      clock: Date.now,
      log: (error) => this.warn(error.message),
    });
    opening.catch((error: Error) => {
      this.status({ fill: 'red', shape: 'ring', text: error.message });
    });
    let consumers: readonly string[] = [];
    let isStarted = false;
    const sentMs = new Map<number, number>();
    const started = () => {
      const configs: NodeConfig[] = [];
      RED.nodes.eachNode((config) => configs.push(config as NodeConfig));
      consumers = consumersBehind(configs, this.id);
      isStarted = true;
    };
    RED.events.on('flows:started', started);

    const emit = (service: WindowService, { id, rows }: RowGroup) => {
      sentMs.set(id, performance.now());
      const handleId = `${this.id}:${id}`;
      const tables = windowTables(rows, { suffix });
      const missing = new Set(consumers);
      const held = new Set<string>();
      const finish = () => {
        if (missing.size > 0) return;
        service.stored(id);
        sentMs.delete(id);
        setTimeout(() => hub().batches.delete(handleId), TICK_MS).unref();
      };
      hub().batches.set(handleId, {
        stream: this.id,
        tables,
        entryIndexes: undefined,
        settled: [],
        atMs: 0,
        take: (consumer) => missing.has(consumer) && !held.has(consumer) && !!held.add(consumer),
        acknowledge: (consumer) => {
          missing.delete(consumer);
          finish();
        },
        letGo: (consumer) => held.delete(consumer),
      });
      const payload: Handle = {
        type: 'fieldproof/readings',
        id: handleId,
        readings: rows.length,
        fromIndex: 0,
        toIndex: 0,
      };
      this.send({ topic: 'windows', payload, rows });
      finish();
    };

    const tick = async () => {
      if (!isStarted) return;
      const service = await opening;
      await service.tick();
      const now = performance.now();
      for (const group of service.unstored) {
        const sent = sentMs.get(group.id);
        if (sent === undefined || now - sent > RESEND_MS) emit(service, group);
      }
      const waiting = service.unstored.length;
      const late = service.tooLate > 0 ? ` · ${service.tooLate} too late` : '';
      const unstored = waiting > 0 ? ` · ${waiting} unstored` : '';
      const text = `${service.openWindows} windows open${unstored}${late}`;
      this.status({ fill: waiting > 10 ? 'yellow' : 'green', shape: 'dot', text });
    };
    const timer = setInterval(
      () => void tick().catch((error: Error) => this.error(error)),
      TICK_MS,
    );

    const take = async ({ payload, fieldproof }: Message): Promise<void> => {
      const service = await opening;
      if (isHandle(payload)) {
        const batch = hub().batches.get(payload.id);
        if (batch === undefined) {
          throw new FlowsError('ERR_HANDLE_UNKNOWN', `handle ${payload.id}: expected a batch`);
        }
        if (!batch.take(this.id)) return;
        await service.apply(batch);
        batch.acknowledge(this.id);
        return;
      }
      const tables = tablesOf(payload);
      const origin = hub().origins.get(fieldproof?.origin ?? '');
      origin?.claim();
      await service.applyTables(tables);
      origin?.release(true);
    };
    this.on('input', (message: Message, _send, done) => {
      take(message).then(() => done(), done);
    });
    this.on('close', (_removed, done) => {
      clearInterval(timer);
      RED.events.removeListener('flows:started', started);
      forgetConsumer(this.id);
      opening.then((service) => service.close()).then(done, () => done());
    });
  }
  RED.nodes.registerType('fieldproof-window', windowNode as never);
}

/** 60 → `1m`, 10 → `10s`, 3600 → `1h`. */
function durationName(seconds: number): string {
  if (seconds % 3600 === 0) return `${seconds / 3600}h`;
  return seconds % 60 === 0 ? `${seconds / 60}m` : `${seconds}s`.replace('.', '_');
}
