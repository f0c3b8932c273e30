/**
 * A scripted life of what the agent keeps, on a disk that may fail: starts, seals, receipts, rejects, losses, stops and
 * deaths. It keeps its own books of what was promised, and compares.
 */

import { type Boot, beginBoot, bootKey } from '@fieldproof/device-agent/boot';
import type { Disk } from '@fieldproof/device-agent/disk';
import { removeLeftovers } from '@fieldproof/device-agent/durable-file';
import { silentLog } from '@fieldproof/device-agent/log';
import { Outbox } from '@fieldproof/device-agent/outbox';
import { ParkedStore } from '@fieldproof/device-agent/parked';
import { ReceiptFile } from '@fieldproof/device-agent/receipt-file';
import { type Interval, IntervalSet } from '@fieldproof/protocol/interval-set';
import type { Receipt } from '@fieldproof/protocol/settlement-messages';
import { type FakeClock, fakeClock } from './fake-clock.ts';

const STATE = '/data/state';

export class AgentLife {
  disk: Disk;
  readonly clock: FakeClock = fakeClock();
  readonly #isFronted: boolean;
  readonly #fsync: 'always' | 'interval';
  outbox!: Outbox;
  parked!: ParkedStore;
  boot!: Boot;
  #receipts!: ReceiptFile;
  #seq = 0;
  #index = 0;
  /** All that was ever sealed: key → content. */
  readonly sealed = new Map<string, Uint8Array>();
  /** Sealed without an error, and not settled or given up since. */
  readonly kept = new Set<string>();
  /** Those of which the outbox has said that they are durable. */
  readonly promised = new Set<string>();
  readonly parkedKeys = new Map<string, Uint8Array>();
  highestBoot = 0;
  starts = 0;
  /** Codes of what went wrong, as the agent would have said it. */
  readonly told: string[] = [];

  constructor(options: {
    readonly disk: Disk;
    readonly isFronted: boolean;
    readonly fsync: 'always' | 'interval';
  }) {
    this.disk = options.disk;
    this.#isFronted = options.isFronted;
    this.#fsync = options.fsync;
  }

  /** As `Agent.start` does it. */
  async start(): Promise<void> {
    const { disk, clock } = this;
    this.starts += 1;
    await disk.makeFolder(STATE);
    await removeLeftovers(STATE, disk);
    const outbox = new Outbox({
      ...{ folder: `${STATE}/outbox`, disk, clock, log: silentLog, fsync: this.#fsync },
      ...{ maxBytes: 1 << 20, maxEnvelopes: 1000, segmentBytes: 12_000, fsyncEveryMs: 1000 },
      ...(this.#isFronted ? { frontFolder: '/run/agent', spillAfterMs: 5000 } : {}),
      ...{ spillBytes: 20_000, trueTimeMs: () => clock.wallMs() },
    });
    await outbox.open();
    this.outbox = outbox;
    this.parked = new ParkedStore({ folder: `${STATE}/parked`, max: 2, disk });
    await this.parked.open();
    this.#receipts = new ReceiptFile({ folder: STATE, clock, log: silentLog, disk });
    await this.#receipts.open((bytes) => receiptOf(bytes[0]!));
    const atLeast = Math.max(outbox.highestBootCounter, this.parked.highestBootCounter);
    const seed = (length: number) => new Uint8Array(length).fill(this.starts);
    this.boot = await beginBoot({ folder: STATE, atLeast, random: seed, disk });
    if (this.boot.counter <= this.highestBoot) throw new Error(`boot ${this.boot.counter} again`);
    this.highestBoot = this.boot.counter;
    this.#seq = 0;
    for (const { boot, ranges } of outbox.holes()) await this.drop(boot, ranges);
  }

  /** Begins, and tries again as the service manager does. */
  async startUntilItWorks(): Promise<void> {
    for (let attempt = 0; attempt < 50; attempt += 1) {
      if (await this.told_(() => this.start())) return;
    }
    throw new Error('it never started');
  }

  async seal(bytes: number): Promise<void> {
    const { boot } = this;
    const seq = this.#seq++;
    const content = new Uint8Array(bytes).fill((boot.counter * 7 + seq * 31) & 0xff);
    content[0] = this.starts;
    const key = `${bootKey(boot)}/${seq}`;
    this.sealed.set(key, content);
    const isKept = await this.told_(() =>
      this.outbox.append({ boot, seq, kind: 'telemetry', bytes: content }),
    );
    if (isKept) this.kept.add(key);
    else await this.drop(boot, [[seq, seq]]);
    if (isKept && this.#fsync === 'always' && !this.#isFronted) this.promised.add(key);
  }

  async sync(): Promise<void> {
    const now = this.#ofThisRun();
    const isDone = await this.told_(() => this.outbox.sync());
    if (isDone && !this.#isFronted) for (const key of now) this.promised.add(key);
  }

  async spill(): Promise<void> {
    const now = this.#ofThisRun();
    if (await this.told_(() => this.outbox.spill())) for (const key of now) this.promised.add(key);
  }

  async settle(ranges: readonly Interval[], boot = this.boot): Promise<void> {
    this.#release(boot, ranges);
    await this.told_(() => this.outbox.settle(boot, ranges));
  }

  async drop(boot: Boot, ranges: readonly Interval[]): Promise<void> {
    this.#release(boot, ranges);
    await this.told_(() => this.outbox.drop(boot, ranges));
  }

  async park(seq: number): Promise<void> {
    const { boot } = this;
    const bytes = this.sealed.get(`${bootKey(boot)}/${seq}`)!;
    const item = { boot, seq, code: 'ERR_TIME_FUTURE', atMs: this.clock.wallMs() };
    if (!(await this.told_(() => this.parked.park(item, bytes)))) return;
    this.parkedKeys.set(`${bootKey(boot)}/${seq}`, bytes);
    if (this.parkedKeys.size > 2) this.parkedKeys.delete(this.parkedKeys.keys().next().value!);
    await this.settle([[seq, seq]]);
  }

  async receipt(): Promise<void> {
    this.#index += 1;
    await this.clock.advance(16 * 60_000);
    const bytes = Uint8Array.of(this.#index);
    await this.#receipts.keep({ bytes, receipt: receiptOf(this.#index) });
  }

  async giveUpOldest(): Promise<void> {
    await this.told_(() => this.outbox.roll());
    const victim = this.outbox.victim();
    if (victim === undefined) return;
    for (const { boot, ranges } of victim.lost) this.#release(boot, ranges);
    await this.told_(() => this.outbox.giveUp(victim));
  }

  async stop(): Promise<void> {
    const now = this.#ofThisRun();
    await this.#receipts.flush();
    if (await this.told_(() => this.outbox.close())) for (const key of now) this.promised.add(key);
  }

  /** What the outbox hands out, against what was sealed. */
  async handedOut(): Promise<Set<string>> {
    const found = new Set<string>();
    const cursor = this.outbox.cursor();
    for (let item = await cursor.next(); item !== undefined; item = await cursor.next()) {
      const key = `${bootKey(item.boot)}/${item.seq}`;
      const content = this.sealed.get(key);
      if (content === undefined || Buffer.compare(content, item.bytes) !== 0) {
        throw new Error(`${key} has another content than was sealed`);
      }
      found.add(key);
    }
    await cursor.close();
    return found;
  }

  /** Whether every seq below the highest of its boot is there, settled, given up, or told as lost. */
  lossesAreTold(): boolean {
    return this.outbox.holes().every(({ ranges }) => ranges.length === 0);
  }

  /** What a process that died of a failing disk has left is readable, and nobody has promised that it is durable. */
  #ofThisRun(): string[] {
    return [...this.kept].filter((key) => key.startsWith(`${bootKey(this.boot)}/`));
  }

  #release(boot: Boot, ranges: readonly Interval[]): void {
    const set = IntervalSet.from(ranges.map(([from, to]): Interval => [from, to]));
    for (const key of [...this.kept]) {
      const [name, seq] = key.split('/');
      if (name !== bootKey(boot) || !set.has(Number(seq))) continue;
      this.kept.delete(key);
      this.promised.delete(key);
    }
  }

  /** @returns whether it worked; what did not has a code of the agent's or of the system's. */
  async told_(work: () => Promise<unknown>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      const { code } = error as { code?: string };
      const cause = (error as { cause?: { code?: string } }).cause?.code;
      if (code === 'CUT' || cause === 'CUT') throw Object.assign(new Error('cut'), { code: 'CUT' });
      if (code === undefined) throw error;
      this.told.push(code);
      return false;
    }
  }
}

/** Everything that a device does with its state, in a day or two. */
export async function live(life: AgentLife): Promise<void> {
  await life.startUntilItWorks();
  for (let seq = 0; seq < 6; seq += 1) await life.seal(900);
  await life.sync();
  await life.settle([[0, 2]]);
  await life.receipt();
  for (let seq = 6; seq < 12; seq += 1) await life.seal(3000);
  await life.park(4);
  await life.clock.advance(6000);
  await life.sync();
  await life.stop();
  await life.startUntilItWorks();
  for (let seq = 0; seq < 5; seq += 1) await life.seal(2500);
  await life.spill();
  await life.giveUpOldest();
  await life.park(1);
  await life.park(2);
  await life.receipt();
  await life.settle([[0, 3]]);
  await life.seal(5000);
  await life.sync();
  await life.settle([[0, 9]]);
  // Most of a full front is settled: it is tidied while something waits there.
  for (let seq = 6; seq < 10; seq += 1) await life.seal(4000);
  await life.settle([[0, 8]]);
  for (let seq = 10; seq < 13; seq += 1) await life.seal(4000);
  await life.clock.advance(6000);
  await life.spill();
}

function receiptOf(index: number): Receipt {
  return {
    at: index,
    boots: [],
    entry: [index, new Uint8Array(32)],
    heads: [],
    checkpoint: null,
  } as unknown as Receipt;
}
