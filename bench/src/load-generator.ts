/**
 * Loads a broker over many connections with packets that were made before the clock started, either as fast as a
 * window of unacknowledged messages allows, or at a rate that does not wait for answers. Latency is taken from when
 * a message was due, so a broker that stalls is not flattered.
 */

import type { MqttWriter } from './mqtt-writer.ts';

export interface LoadRun {
  readonly messages: number;
  /** Most unacknowledged messages, over all connections. */
  readonly window: number;
  /** Messages per second; null for as fast as the window allows. */
  readonly rate: number | null;
  /** A rate is reached in this time, from a tenth of it. Default 0. */
  readonly climbMs?: number;
}

export interface LoadResult {
  readonly messages: number;
  /** Unix ms of the first PUBLISH and of the last. */
  readonly firstSentMs: number;
  readonly lastSentMs: number;
  /** First PUBLISH to last PUBACK. */
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** CPU of this process, in % of one core. */
  readonly cpuPercent: number;
}

export interface LoadConnection {
  readonly writer: MqttWriter;
  /** Packets to send, in order; `next` is the first one not sent. */
  readonly packets: readonly Buffer[];
  next: number;
}

const IDS = 0x1_0000;
const TICK_MS = 2;

export class LoadGenerator {
  private readonly lanes: Lane[] = [];
  private run: RunState | null = null;

  /** Adds a connection and returns what its writer is to call. */
  lane(): Pick<Lane, 'onPuback' | 'onIdle' | 'attach'> {
    const lane = new Lane(() => this.run);
    this.lanes.push(lane);
    return lane;
  }

  /**
   * Sends the next `messages` packets, dealt over the connections in turn.
   *
   * @throws {Error} when fewer are left.
   */
  async start(options: LoadRun): Promise<LoadResult> {
    const left = this.lanes.reduce((sum, lane) => sum + lane.left, 0);
    if (left < options.messages) {
      throw new Error(`load: expected ${options.messages} packets, got ${left}`);
    }
    const cpu = process.cpuUsage();
    const run = new RunState(options, this.lanes.length);
    this.run = run;
    const wall = Date.now();
    if (options.rate === null) for (const lane of this.lanes) lane.fill(run);
    else this.pace(run, options.rate, options.climbMs ?? 0);
    await run.finished;
    this.run = null;
    const seconds = (performance.now() - run.startedAt) / 1000;
    const { user, system } = process.cpuUsage(cpu);
    const sorted = run.latencies.sort();
    return {
      messages: options.messages,
      firstSentMs: wall,
      lastSentMs: wall + run.lastSentAt - run.startedAt,
      seconds,
      p50Ms: sorted[Math.floor(sorted.length * 0.5)]!,
      p99Ms: sorted[Math.floor(sorted.length * 0.99)]!,
      cpuPercent: (user + system) / 1e4 / seconds,
    };
  }

  private pace(run: RunState, rate: number, climbMs: number): void {
    const climb = climbMs / 1000;
    let turn = 0;
    const tick = (): void => {
      const elapsed = performance.now() - run.startedAt;
      const until = Math.min(run.options.messages, sentBy(elapsed / 1000, rate, climb));
      for (const lane of this.lanes) lane.hold();
      while (run.sent < until && run.inFlight < run.options.window) {
        const due = run.startedAt + dueMs(run.sent, rate, climb);
        for (let tries = 0; tries < this.lanes.length; tries++) {
          const lane = this.lanes[turn++ % this.lanes.length]!;
          if (lane.send(run, due)) break;
        }
      }
      for (const lane of this.lanes) lane.release();
      if (run.sent < run.options.messages) setTimeout(tick, TICK_MS);
    };
    tick();
  }
}

class RunState {
  readonly options: LoadRun;
  readonly laneWindow: number;
  readonly startedAt = performance.now();
  readonly latencies: Float64Array;
  readonly finished: Promise<void>;
  sent = 0;
  acknowledged = 0;
  lastSentAt = 0;
  private readonly finish: () => void;

  constructor(options: LoadRun, lanes: number) {
    this.options = options;
    this.laneWindow = Math.max(1, Math.floor(options.window / lanes));
    this.latencies = new Float64Array(options.messages);
    let finish = (): void => {};
    this.finished = new Promise((resolve) => {
      finish = resolve;
    });
    this.finish = finish;
  }

  get inFlight(): number {
    return this.sent - this.acknowledged;
  }

  acknowledge(latencyMs: number): void {
    this.latencies[this.acknowledged++] = latencyMs;
    if (this.acknowledged === this.options.messages) this.finish();
  }
}

class Lane {
  private connection: LoadConnection | null = null;
  private readonly current: () => RunState | null;
  private readonly dueAt = new Float64Array(IDS);
  private nextId = 1;
  private inFlight = 0;

  constructor(current: () => RunState | null) {
    this.current = current;
  }

  get left(): number {
    return this.connection === null ? 0 : this.connection.packets.length - this.connection.next;
  }

  readonly attach = (connection: LoadConnection): void => {
    this.connection = connection;
  };

  readonly onPuback = (packetId: number): void => {
    this.inFlight -= 1;
    this.current()?.acknowledge(performance.now() - this.dueAt[packetId]!);
  };

  readonly onIdle = (): void => {
    const run = this.current();
    if (run?.options.rate === null) this.fill(run);
  };

  /** Sends as many as the window allows, in one write. */
  fill(run: RunState): void {
    if (this.inFlight >= run.laneWindow) return;
    this.hold();
    while (this.inFlight < run.laneWindow && run.sent < run.options.messages) {
      if (!this.send(run, performance.now())) break;
    }
    this.release();
  }

  /** Sends the next packet. False when there is none. */
  send(run: RunState, due: number): boolean {
    const { connection } = this;
    const bytes = connection?.packets[connection.next];
    if (!connection || bytes === undefined) return false;
    connection.next += 1;
    const id = this.nextId;
    this.nextId = id === IDS - 1 ? 1 : id + 1;
    this.dueAt[id] = due;
    this.inFlight += 1;
    run.sent += 1;
    run.lastSentAt = performance.now();
    connection.writer.publish(bytes, id);
    return true;
  }

  hold(): void {
    this.connection?.writer.hold();
  }

  release(): void {
    this.connection?.writer.release();
  }
}

/** Messages due after so many seconds, when the rate grows evenly from a tenth during the climb. */
function sentBy(seconds: number, rate: number, climb: number): number {
  if (seconds >= climb) return Math.floor(0.55 * rate * climb + rate * (seconds - climb));
  return Math.floor(rate * (0.1 * seconds + (0.45 * seconds * seconds) / climb));
}

/** When message `n` is due, ms after the start: the inverse of {@link sentBy}. */
function dueMs(n: number, rate: number, climb: number): number {
  const climbed = 0.55 * rate * climb;
  if (n >= climbed) return 1000 * (climb + (n - climbed) / rate);
  const a = 0.45 / climb;
  return (1000 * (Math.sqrt(0.01 + (4 * a * n) / rate) - 0.1)) / (2 * a);
}
