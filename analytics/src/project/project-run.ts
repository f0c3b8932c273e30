/**
 * The projector without Node-RED: from the tail into a store, with windows where they are wanted, from one durable
 * cursor. It does what a telemetry node with a store and window nodes behind it does, with the same parts.
 *
 * All state is in one folder: `<name>.cursor`, `<name>.window-<length>.state`, dead letters. One run for each name.
 */
import { join } from 'node:path';
import { durationName, windowTables } from '@fieldproof/compute/window-tables';
import { AnalyticsError } from '../errors.ts';
import type { MicroBatch } from '../projection/batcher.ts';
import { appendLines } from '../projection/dead-letters.ts';
import type { LineSink } from '../projection/line-sink.ts';
import { Projection, type ProjectionStatus } from '../projection/projection.ts';
import { StoreWriter } from '../projection/store-writer.ts';
import type { TailSource } from '../projection/tail-client.ts';
import { type RowGroup, WindowService } from '../projection/window-service.ts';

/** As the window node has them when nothing else is set. */
const GRACE_MS = 5000;
const HORIZON_MS = 7_200_000;
const TICK_MS = 1000;
const POLL_MS = 25;
const STORE = 'store';

export interface ProjectRunOptions {
  /** Names the files in `folder`. */
  readonly name: string;
  readonly folder: string;
  readonly tail: TailSource;
  readonly sink: LineSink;
  /** Lengths of windows, ms; each makes profiles `<profile>_1m` and the like. */
  readonly windowsMs?: readonly number[];
  /** Ends at the present end of the log. */
  readonly once?: boolean;
  /** What goes wrong and is tried again. */
  readonly onProblem?: (error: Error) => void;
  readonly clock?: () => number;
}

export interface ProjectStatus {
  readonly projection: ProjectionStatus;
  /** Lines that the store confirmed, and that it refused for good (they are in the dead letters). */
  readonly lines: number;
  readonly refused: number;
  /** Window rows that the store does not have yet. */
  readonly unstoredRows: number;
}

interface WindowConsumer {
  readonly name: string;
  readonly suffix: string;
  readonly service: WindowService;
  /** Groups on their way to the store. */
  readonly sending: Set<number>;
  ticking: Promise<void>;
}

/** One run, from `start` to `stop` or its end. */
export class ProjectRun {
  readonly #options: ProjectRunOptions;
  readonly #projection: Projection;
  readonly #writer: StoreWriter;
  readonly #windows: readonly WindowConsumer[];
  readonly #ended: Promise<void>;
  #end: (error?: AnalyticsError) => void = () => {};
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;
  #isReplaying = false;

  private constructor(options: ProjectRunOptions, windows: readonly WindowConsumer[]) {
    const { name, folder, tail, sink, clock = Date.now, onProblem = () => {} } = options;
    const file = join(folder, name);
    this.#options = options;
    this.#windows = windows;
    this.#ended = new Promise((resolve, reject) => {
      this.#end = (error) => (error === undefined ? resolve() : reject(error));
    });
    // Who only stops does not wait for the end.
    this.#ended.catch(() => {});
    this.#writer = new StoreWriter({
      sink,
      setAside: (lines, error) => appendLines(`${file}.dead.lp`, lines, { error, nowMs: clock() }),
      onAttempt: (error) => {
        if (error !== undefined) this.#problem(error);
      },
    });
    this.#projection = new Projection({
      ...tail,
      cursorPath: `${file}.cursor`,
      deadLetterPath: `${file}.dead.frames`,
      live: options.once !== true,
      clock,
      send: (batch) => this.#send(batch),
      onProblem: (error) => {
        onProblem(error);
        // These do not pass by waiting.
        if (error instanceof AnalyticsError && FATAL.has(error.code)) this.#end(error);
      },
    });
    this.#projection.setConsumers([STORE, ...windows.map((window) => window.name)]);
  }

  /** Opens cursor and windows, and begins. */
  static async start(options: ProjectRunOptions): Promise<ProjectRun> {
    const { name, folder, windowsMs = [], clock = Date.now, onProblem = () => {} } = options;
    const windows: WindowConsumer[] = [];
    for (const windowMs of windowsMs) {
      const length = durationName(windowMs);
      const service = await WindowService.open({
        path: join(folder, `${name}.window-${length}.state`),
        ...{ windowMs, graceMs: GRACE_MS, horizonMs: HORIZON_MS, clock, log: onProblem },
      });
      windows.push({
        ...{ name: `window-${length}`, suffix: `_${length}`, service },
        ...{ sending: new Set<number>(), ticking: Promise.resolve() },
      });
    }
    const run = new ProjectRun(options, windows);
    const behind = windows.filter(({ service }) => service.needsReplay);
    if (behind.length > 0) run.#replay(behind);
    run.#projection.start();
    run.#timer = setInterval(() => run.#tick(), TICK_MS);
    if (options.once === true) void run.#finish();
    return run;
  }

  get status(): ProjectStatus {
    const { lines, refused } = this.#writer.stats;
    const groups = this.#windows.flatMap(({ service }) => service.unstored);
    const unstoredRows = groups.reduce((sum, { rows }) => sum + rows.length, 0);
    return { projection: this.#projection.status, lines, refused, unstoredRows };
  }

  /**
   * Resolves at the end of the log (with `once`) or when it is stopped.
   *
   * @throws {AnalyticsError} ERR_TAIL_AUTH, ERR_TAIL_RANGE, ERR_TAIL_CORRUPT, ERR_TAIL_OTHER_LOG; stop it then.
   */
  get ended(): Promise<void> {
    return this.#ended;
  }

  /** Makes cursor and windows durable. What the store has not confirmed comes again at the next start. */
  async stop(): Promise<void> {
    if (this.#isStopped) return;
    this.#isStopped = true;
    clearInterval(this.#timer);
    await this.#writer.close();
    await this.#projection.stop();
    for (const { service } of this.#windows) await service.close();
    this.#end();
  }

  #send(batch: MicroBatch): void {
    const { id, tables } = batch;
    const projection = this.#projection;
    if (projection.take(id, STORE)) {
      this.#writer.write(tables).then(
        ({ error }) => {
          if (error !== undefined) this.#problem(error);
          projection.acknowledge(id, STORE);
        },
        () => projection.letGo(id, STORE),
      );
    }
    for (const { name, service } of this.#windows) {
      if (!projection.take(id, name)) continue;
      const { generation } = projection;
      service.apply({ ...batch, stream: this.#options.name, generation }).then(
        (isDurable) => {
          if (isDurable) projection.acknowledge(id, name);
          else projection.letGo(id, name);
          this.#tick();
        },
        () => projection.letGo(id, name),
      );
    }
  }

  /** For windows that lack what the cursor has passed. */
  #replay(windows: readonly WindowConsumer[]): void {
    if (this.#isReplaying) return;
    this.#isReplaying = true;
    void this.#projection.rewind().then((isDone) => {
      this.#isReplaying = false;
      if (isDone) for (const { service } of windows) service.replayed();
    });
  }

  #tick(options: { readonly isAtEnd?: boolean } = {}): void {
    const behind = this.#windows.filter(({ service }) => service.needsReplay);
    // What ends at the end of the log begins with it the next time.
    if (behind.length > 0 && this.#options.once !== true) this.#replay(behind);
    for (const window of this.#windows) {
      window.ticking = window.ticking.then(async () => {
        if (this.#isStopped) return;
        // A group is in `unstored` at once, and stored once it is durable there.
        await window.service.tick(options);
        for (const group of window.service.unstored) this.#storeRows(window, group);
      });
    }
  }

  #storeRows({ service, sending, suffix }: WindowConsumer, { id, rows }: RowGroup): void {
    if (sending.has(id)) return;
    sending.add(id);
    this.#writer
      .write(windowTables(rows, { suffix }))
      .then(
        ({ error }) => {
          if (error !== undefined) this.#problem(error);
          service.stored(id);
        },
        () => {},
      )
      .finally(() => sending.delete(id));
  }

  /** With `once`: waits until everything is put away, closes the windows that are due, and ends. */
  async #finish(): Promise<void> {
    const until = async (condition: () => boolean) => {
      while (!condition() && !this.#isStopped) {
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
    };
    await until(() => {
      const { isAtEnd, cursorIndex, nextIndex } = this.#projection.status;
      return isAtEnd && cursorIndex === nextIndex;
    });
    this.#tick({ isAtEnd: true });
    await Promise.all(this.#windows.map(({ ticking }) => ticking));
    await until(() => this.status.unstoredRows === 0);
    if (!this.#isStopped) this.#end();
  }

  #problem(error: Error): void {
    this.#options.onProblem?.(error);
  }
}

const FATAL: ReadonlySet<string> = new Set([
  ...['ERR_TAIL_AUTH', 'ERR_TAIL_RANGE', 'ERR_TAIL_CORRUPT', 'ERR_TAIL_OTHER_LOG'],
]);
