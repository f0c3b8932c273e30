/** `fieldproof-window`: mean, min, max and the like of each minute (or any length). A shell around `window-service.ts`. */

import { join } from 'node:path';
import { AnalyticsError } from '@fieldproof/analytics/errors';
import { type RowGroup, WindowService } from '@fieldproof/analytics/projection/window-service';
import type { WindowRow } from '@fieldproof/compute/window';
import { durationName, windowTables } from '@fieldproof/compute/window-tables';
import { consumersBehind, type NodeConfig } from '../consumers.ts';
import { FlowsError } from '../errors.ts';
import { forgetConsumer, type Handle, hub, isHandle } from '../hub.ts';
import { stateFolder } from '../network-settings.ts';
import type { Message, NodeApi, NodeBase, NodeDef } from '../node-red-api.ts';
import { PlainBacklog } from '../plain-backlog.ts';

interface WindowDef extends NodeDef {
  /** Seconds, as texts or numbers. */
  size?: number | string;
  grace?: number | string;
  horizon?: number | string;
}

/** A group of rows on its way: who has stored it, and who is at it. */
interface Sending {
  readonly stored: Set<string>;
  readonly held: Set<string>;
  sentMs: number;
  tries: number;
}

const TICK_MS = 1000;
const RESEND_MS = 30_000;
/** Sent so often and not taken, rows are a problem and not a delay. */
const MAX_TRIES = 5;

export default function register(RED: NodeApi): void {
  function windowNode(this: NodeBase, def: WindowDef) {
    RED.nodes.createNode(this, def);
    const sizeS = Number(def.size ?? 60);
    const graceS = Number(def.grace ?? 5);
    const horizonS = Math.max(graceS, Number(def.horizon ?? 7200));
    const opening = WindowService.open({
      path: join(stateFolder(RED.settings.userDir), `window-${this.id}.state`),
      windowMs: Math.round(sizeS * 1000),
      graceMs: graceS * 1000,
      horizonMs: horizonS * 1000,
      maxUnstoredRows: hub().installation.maxUnstoredRows,
      clock: Date.now,
      log: (error) =>
        this.warn(`${(error as { code?: string }).code ?? ''} ${error.message}`.trim()),
    });
    opening.catch((error: Error) => {
      this.status({ fill: 'red', shape: 'ring', text: error.message });
    });
    let consumers: readonly string[] = [];
    /** Telemetry nodes whose entries come here. */
    let sources: readonly string[] = [];
    let isReplaying = false;
    let isStarted = false;
    const sending = new Map<number, Sending>();
    const backlog = new PlainBacklog();
    const started = () => {
      const configs: NodeConfig[] = [];
      RED.nodes.eachNode((config) => configs.push(config as NodeConfig));
      consumers = consumersBehind(configs, this.id);
      sources = sourcesOf(configs, this.id);
      isStarted = true;
    };
    RED.events.on('flows:started', started);

    const missingOf = ({ stored }: Sending) => consumers.filter((id) => !stored.has(id));
    const finish = (service: WindowService, id: number) => {
      const group = sending.get(id);
      if (group === undefined || missingOf(group).length > 0) return;
      sending.delete(id);
      service.stored(id);
      setTimeout(() => hub().batches.delete(`${this.id}:${id}`), TICK_MS).unref();
    };
    const emit = (service: WindowService, { id, rows }: RowGroup) => {
      const group = sending.get(id) ?? { stored: new Set(), held: new Set(), sentMs: 0, tries: 0 };
      group.sentMs = performance.now();
      group.tries++;
      sending.set(id, group);
      const { stored, held } = group;
      const handleId = `${this.id}:${id}`;
      hub().batches.set(handleId, {
        stream: this.id,
        tables: windowTables(rows, { suffix: suffixOf(rows) }),
        entryIndexes: undefined,
        settled: [],
        atMs: 0,
        take: (consumer) =>
          missingOf(group).includes(consumer) && !held.has(consumer) && !!held.add(consumer),
        acknowledge: (consumer) => {
          stored.add(consumer);
          held.delete(consumer);
          finish(service, id);
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
      finish(service, id);
    };

    /** Nobody works on it, or not all who should. */
    const isIgnored = (group: Sending) =>
      group.tries > 1 && missingOf(group).some((id) => !group.held.has(id));
    const ignoredProblem = (): AnalyticsError | undefined => {
      const lost = [...sending.values()].filter((each) => isIgnored(each));
      const often = lost.filter(({ tries }) => tries >= MAX_TRIES);
      if (often.length === 0) return undefined;
      const missing = [...new Set(often.flatMap(missingOf))].join(', ');
      const text = `${often.length} groups of rows: sent ${MAX_TRIES} times or more, not taken by ${missing}`;
      return new AnalyticsError('ERR_ROWS_IGNORED', text);
    };

    /** Without the newest state: the cursors have passed what is missing. */
    const replay = async (service: WindowService) => {
      const found = sources.map((id) => hub().services.get(id));
      if (isReplaying || found.includes(undefined)) return;
      isReplaying = true;
      const begun = await Promise.all(found.map((source) => source!.rewind()));
      isReplaying = false;
      if (!begun.includes(false)) service.replayed();
    };

    const tick = async () => {
      if (!isStarted) return;
      const service = await opening;
      if (service.needsReplay) await replay(service);
      const problem = service.problem ?? ignoredProblem();
      if (problem === undefined) hub().problems.delete(this.id);
      else hub().problems.set(this.id, problem);
      const trouble = problem ?? backlog.problem;
      if (trouble !== undefined) {
        const text = `${trouble.code}: ${trouble.message}`.slice(0, 120);
        this.status({ fill: 'red', shape: 'ring', text });
      }
      // Until they are durable, rows are not given out.
      await service.tick();
      const now = performance.now();
      for (const group of service.unstored) {
        const sent = sending.get(group.id);
        if (sent !== undefined) {
          finish(service, group.id);
          // A store that is down keeps what it holds.
          if (missingOf(sent).every((id) => sent.held.has(id))) continue;
          if (now - sent.sentMs <= RESEND_MS) continue;
        }
        emit(service, group);
      }
      const waiting = service.unstored.length;
      const late = service.tooLate > 0 ? ` · ${service.tooLate} too late` : '';
      const unstored = waiting > 0 ? ` · ${waiting} unstored` : '';
      if ((service.problem ?? ignoredProblem() ?? backlog.problem) !== undefined) return;
      const ignored = [...sending.values()].filter((each) => isIgnored(each)).length;
      const again = ignored > 0 ? ` · ${ignored} sent again, something keeps them` : '';
      const text = `${service.openWindows} windows open${unstored}${again}${late}`;
      const fill = waiting > 10 || ignored > 0 ? 'yellow' : 'green';
      this.status({ fill, shape: 'dot', text });
    };
    const timer = setInterval(
      () => void tick().catch((error: Error) => this.error(error)),
      TICK_MS,
    );

    const take = async (message: Message): Promise<void> => {
      const service = await opening;
      const { payload } = message;
      if (isHandle(payload)) {
        const batch = hub().batches.get(payload.id);
        if (batch === undefined) {
          throw new FlowsError('ERR_HANDLE_UNKNOWN', `handle ${payload.id}: expected a batch`);
        }
        if (!batch.take(this.id)) return;
        let isDurable = false;
        try {
          isDurable = await service.apply(batch);
        } finally {
          if (isDurable) batch.acknowledge(this.id);
          else batch.letGo(this.id);
        }
        return;
      }
      await backlog.take(message, (tables, atMs) => service.applyTables(tables, atMs));
    };
    this.on('input', (message: Message, _send, done) => {
      take(message).then(() => done(), done);
    });
    this.on('close', (_removed, done) => {
      clearInterval(timer);
      RED.events.removeListener('flows:started', started);
      hub().problems.delete(this.id);
      forgetConsumer(this.id);
      opening.then((service) => service.close()).then(done, () => done());
    });
  }
  RED.nodes.registerType('fieldproof-window', windowNode as never);
}

/** The nodes whose entries are told apart here; messages of plain readings have none. */
function sourcesOf(configs: readonly NodeConfig[], window: string): string[] {
  return configs
    .filter(({ type, mode = 'handle' }) => type === 'fieldproof-telemetry' && mode === 'handle')
    .map(({ id }) => id)
    .filter((id) => consumersBehind(configs, id).includes(window));
}

/** By the length of the rows, which may be from before the node's was changed. */
function suffixOf(rows: readonly WindowRow[]): string {
  const { startMs, endMs } = rows[0]!;
  return `_${durationName(endMs - startMs)}`;
}
