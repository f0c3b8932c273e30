/**
 * What is behind a telemetry node: a projection that outlives the node for a moment, so that a redeploy does not stop
 * the reading, and the three ways in which its batches become messages.
 *
 * `handle`: one small message for a batch; every consumer acknowledges. `batch` and `reading`: plain objects, paced;
 * a flow may drop some of them on purpose, so the batch counts as put away when all were handed over and what reached
 * a consumer is stored.
 */
import { join } from 'node:path';
import type { MicroBatch } from '@fieldproof/analytics/projection/batcher';
import {
  type ProgressReport,
  startProgressReport,
} from '@fieldproof/analytics/projection/progress-report';
import { Projection, type ProjectionStatus } from '@fieldproof/analytics/projection/projection';
import { type Handle, hub } from './hub.ts';
import { reportSettings, type TailSettings } from './network-settings.ts';
import { plainBatch, plainReadings } from './plain-readings.ts';

export type OutputMode = 'handle' | 'batch' | 'reading';

export interface TelemetryMessage {
  readonly topic: string;
  readonly payload: unknown;
  /** Of plain messages: which batch they are from. */
  readonly fieldproof?: { readonly origin: string };
}

export interface TelemetryOptions {
  readonly id: string;
  readonly mode: OutputMode;
  /** Of plain messages, a second. */
  readonly rate: number;
  readonly folder: string;
  readonly tail: TailSettings;
  readonly log: (error: Error) => void;
}

/** A node that sends what the service gives. */
export interface TelemetryNode {
  readonly send: (message: TelemetryMessage) => void;
  readonly status: (status: ProjectionStatus) => void;
}

/** How long a service waits for its node to come back. */
const ORPHAN_MS = 15_000;
/** Batches that stay readable after they are done, for function nodes that look into them. */
const KEPT = 16;
/** After the last plain message, before the batch may count as put away: so long, and so many turns of the loop. */
const SETTLE_MS = 500;
const SETTLE_TURNS = 10;
/** Of plain messages: what a store that is down lets pile up as separate writes. */
const PLAIN_LIMITS = { maxLines: 1000, maxUnacknowledged: 2 };
const PACE_MS = 20;

export class TelemetryService {
  readonly #options: TelemetryOptions;
  readonly #projection: Projection;
  readonly #done: string[] = [];
  readonly #forget: (consumer: string) => void;
  /** Tells the control process how far the reading is. */
  readonly #report: ProgressReport | undefined;
  /** Batches that came while there was no node. */
  #undelivered: MicroBatch[] = [];
  #node: TelemetryNode | undefined;
  #orphan: NodeJS.Timeout | undefined;
  /** Stores and windows behind the node. */
  #consumers: readonly string[] = [];
  #started = false;
  #stopped = false;
  /** Ends when the plain messages of the batches so far are sent: one after the other, at the rate. */
  #sending: Promise<unknown> = Promise.resolve();

  private constructor(options: TelemetryOptions) {
    this.#options = options;
    const file = join(options.folder, `telemetry-${options.id}`);
    this.#projection = new Projection({
      url: options.tail.url,
      token: options.tail.token,
      cursorPath: `${file}.cursor`,
      deadLetterPath: `${file}.dead.frames`,
      ...(options.mode === 'handle' ? {} : { limits: PLAIN_LIMITS }),
      send: (batch) => this.#send(batch),
      onDone: (id) => this.#finished(id),
      onStatus: () => this.#node?.status(this.status),
      onProblem: options.log,
    });
    const control = reportSettings();
    this.#report =
      control &&
      startProgressReport({
        ...{ ...control, name: `flows-${options.id}` },
        status: () => this.status,
      });
    this.#forget = (consumer) => this.#projection.forgetConsumer(consumer);
    hub().forget.add(this.#forget);
  }

  /** The service of a node: the running one if its settings are the same. */
  static async acquire(options: TelemetryOptions): Promise<TelemetryService> {
    const { services } = hub();
    const running = services.get(options.id);
    if (running instanceof TelemetryService && running.#suits(options)) return running;
    await running?.stop();
    const service = new TelemetryService(options);
    services.set(options.id, service);
    return service;
  }

  /** With the problem of a consumer, where the reading itself has none. */
  get status(): ProjectionStatus {
    const { status } = this.#projection;
    if (status.problem !== undefined) return status;
    const { problems } = hub();
    const [troubled] = this.#consumers.filter((id) => problems.has(id));
    return troubled === undefined ? status : { ...status, problem: problems.get(troubled) };
  }

  /** See {@link Projection.rewind}. */
  rewind(): Promise<boolean> {
    return this.#projection.rewind();
  }

  /** The node is there: what is not acknowledged is sent again, and reading goes on. */
  attach(node: TelemetryNode, consumers: readonly string[]): void {
    clearTimeout(this.#orphan);
    this.#node = node;
    const { id, mode } = this.#options;
    this.#consumers = consumers;
    this.#projection.setConsumers(mode === 'handle' ? consumers : [id]);
    if (!this.#started) this.#projection.start();
    this.#started = true;
    for (const batch of this.#undelivered.splice(0)) this.#send(batch);
    node.status(this.status);
  }

  /** The node is gone, perhaps only until the deploy is done. */
  detach(): void {
    this.#node = undefined;
    this.#orphan = setTimeout(() => void this.stop(), ORPHAN_MS);
    this.#orphan.unref();
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    clearTimeout(this.#orphan);
    this.#report?.stop();
    const { services, forget, batches } = hub();
    forget.delete(this.#forget);
    if (services.get(this.#options.id) === this) services.delete(this.#options.id);
    await this.#projection.stop();
    for (const id of batches.keys()) if (id.startsWith(`${this.#options.id}:`)) batches.delete(id);
  }

  #suits({ tail, mode, rate, folder }: TelemetryOptions): boolean {
    const mine = this.#options;
    return (
      !this.#stopped &&
      mine.tail.key === tail.key &&
      mine.mode === mode &&
      mine.rate === rate &&
      mine.folder === folder
    );
  }

  #handleId(id: number): string {
    return `${this.#options.id}:${id}`;
  }

  #send(batch: MicroBatch): void {
    const id = this.#handleId(batch.id);
    const projection = this.#projection;
    hub().batches.set(id, {
      stream: projection.logId ?? this.#options.id,
      generation: projection.generation,
      tables: batch.tables,
      entryIndexes: batch.entryIndexes,
      settled: batch.settled,
      atMs: batch.atMs,
      take: (consumer) => projection.take(batch.id, consumer),
      acknowledge: (consumer) => projection.acknowledge(batch.id, consumer),
      letGo: (consumer) => projection.letGo(batch.id, consumer),
    });
    const node = this.#node;
    if (node === undefined) {
      this.#undelivered.push(batch);
      return;
    }
    if (this.#options.mode !== 'handle') {
      if (projection.take(batch.id, this.#options.id)) void this.#handOver(batch, id);
      return;
    }
    const { readings, fromIndex, toIndex } = batch;
    const payload: Handle = { type: 'fieldproof/readings', id, readings, fromIndex, toIndex };
    node.send({ topic: 'readings', payload });
  }

  #finished(batchId: number): void {
    this.#done.push(this.#handleId(batchId));
    if (this.#done.length > KEPT) hub().batches.delete(this.#done.shift()!);
  }

  /** Sends the plain messages of a batch, then waits for what reached consumers. */
  async #handOver(batch: MicroBatch, origin: string): Promise<void> {
    const { id } = this.#options;
    let open = 0;
    let failed = false;
    hub().origins.set(origin, {
      atMs: batch.atMs,
      claim: () => {
        open++;
      },
      release: (stored) => {
        open--;
        if (!stored) failed = true;
      },
    });
    const sent = this.#sending.then(() => this.#sendPlain(batch, origin));
    this.#sending = sent;
    if (!(await sent)) failed = true;
    do {
      // A function node that blocks holds up the clock, not what it passes on afterwards.
      for (let i = 0; i < SETTLE_TURNS; i++) await pause(SETTLE_MS / SETTLE_TURNS);
    } while (open > 0 && !this.#stopped);
    hub().origins.delete(origin);
    if (failed || open > 0) this.#projection.letGo(batch.id, id);
    else this.#projection.acknowledge(batch.id, id);
  }

  /** At the node's pace; false when the node is gone before all are sent. */
  async #sendPlain(batch: MicroBatch, origin: string): Promise<boolean> {
    const { mode, rate } = this.#options;
    const slice = Math.max(1, Math.round((rate * PACE_MS) / 1000));
    let sent = 0;
    for (const table of batch.tables) {
      const payloads = mode === 'batch' ? [plainBatch(table)] : plainReadings(table);
      for (const payload of payloads) {
        if (this.#node === undefined || this.#stopped) return false;
        this.#node.send({ topic: table.device, payload, fieldproof: { origin } });
        if (++sent % slice === 0) await pause((slice * 1000) / rate);
      }
    }
    return true;
  }
}

/** How a node shows where the reading is. */
export function statusOf(
  status: ProjectionStatus,
  nowMs: number,
): { fill: 'red' | 'yellow' | 'green' | 'grey'; shape: 'dot' | 'ring'; text: string } {
  const { cursorIndex, unacknowledged, deadLetters, problem, connected, lastEntryMs } = status;
  const unreadable = Object.values(status.unprojectable).reduce((sum, n) => sum + n, 0);
  const parts = [`index ${cursorIndex}`];
  const lagS = lastEntryMs === undefined ? 0 : Math.max(0, (nowMs - lastEntryMs) / 1000);
  if (unacknowledged > 0 && lagS > 2) parts.push(`lag ${Math.round(lagS)} s`);
  if (unacknowledged > 0) parts.push(`${unacknowledged} unacknowledged`);
  if (status.waiting > 0) parts.push(`${status.waiting} without time`);
  if (status.droppedWaiting > 0) parts.push(`${status.droppedWaiting} never placed`);
  if (unreadable > 0) parts.push(`${unreadable} unreadable`);
  if (deadLetters > 0) {
    return { fill: 'red', shape: 'dot', text: `${deadLetters} set aside · ${parts.join(' · ')}` };
  }
  if (!connected) {
    const text = problem === undefined ? 'connecting' : `${problem.code}: ${problem.message}`;
    const fill = problem === undefined ? 'grey' : problem.transient ? 'yellow' : 'red';
    return { fill, shape: 'ring', text: text.slice(0, 120) };
  }
  if (problem !== undefined) {
    const text = `${problem.code}: ${problem.message}`.slice(0, 120);
    return { fill: problem.transient ? 'yellow' : 'red', shape: 'ring', text };
  }
  if (status.consumers === 0) {
    return { fill: 'yellow', shape: 'ring', text: `nothing stores this · ${parts.join(' · ')}` };
  }
  if (status.ignored > 0) {
    const text = `${status.ignored} sent again, something keeps them · ${parts.join(' · ')}`;
    return { fill: 'yellow', shape: 'ring', text };
  }
  return { fill: 'green', shape: 'dot', text: parts.join(' · ') };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
