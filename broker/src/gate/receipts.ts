/**
 * When receipts go out: after commits, at most one per device and interval; at once after a birth and after a duplicate.
 * docs/spec/settlement.md section 3. What they say comes from the evidence log.
 */

import { CONTENT_TYPES, downAad, type Signer, seal } from '@fieldproof/protocol/envelope';
import { encodeReceipt, type Receipt } from '@fieldproof/protocol/settlement-messages';
import type { Evidence } from './evidence.ts';
import type { PublishDown } from './session.ts';

export interface ReceiptsOptions {
  readonly network: string;
  readonly signer: Signer;
  readonly evidence: Pick<Evidence, 'receiptFor'>;
  readonly publishDown: PublishDown;
  readonly isOnline: (deviceId: string) => boolean;
  readonly now: () => number;
  readonly intervalMs: number;
}

interface Subject {
  readonly deviceId: string;
  readonly deviceKey: Uint8Array;
}

/** How exactly times are kept. */
const TICK_MS = 25;
/** Least time between two receipts that go out at once: a resent backlog brings one for many duplicates. */
const BURST_MS = 50;

export class Receipts {
  private readonly options: ReceiptsOptions;
  private readonly sentAt = new Map<string, number>();
  private readonly due = new Map<string, { readonly subject: Subject; readonly at: number }>();
  private timer: NodeJS.Timeout | null = null;
  private count = 0;

  constructor(options: ReceiptsOptions) {
    this.options = options;
  }

  /** Receipts sent since the start. */
  get sent(): number {
    return this.count;
  }

  /** Something of the device became durable or was refused: a receipt follows within the interval. */
  soon(subject: Subject): void {
    this.plan(subject, this.options.intervalMs);
  }

  /** A birth or a duplicate was settled. */
  atOnce(subject: Subject): void {
    this.plan(subject, Math.min(BURST_MS, this.options.intervalMs));
  }

  /** The device went away: its birth will bring a receipt again. */
  forget(deviceId: string): void {
    this.sentAt.delete(deviceId);
    this.due.delete(deviceId);
  }

  stop(): void {
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
    this.due.clear();
  }

  private plan(subject: Subject, spacingMs: number): void {
    const { deviceId } = subject;
    const at = (this.sentAt.get(deviceId) ?? Number.NEGATIVE_INFINITY) + spacingMs;
    if (at <= this.options.now()) {
      this.send(subject);
      return;
    }
    const planned = this.due.get(deviceId);
    if (planned && planned.at <= at) return;
    this.due.set(deviceId, { subject, at });
    this.timer ??= setTimeout(() => this.tick(), TICK_MS);
  }

  private tick(): void {
    this.timer = null;
    const now = this.options.now();
    for (const { subject, at } of this.due.values()) if (at <= now) this.send(subject);
    if (this.due.size > 0) this.timer = setTimeout(() => this.tick(), TICK_MS);
  }

  private send({ deviceId, deviceKey }: Subject): void {
    const { network, signer, evidence, publishDown, isOnline, now } = this.options;
    this.due.delete(deviceId);
    if (!isOnline(deviceId)) return;
    const { boots, entry, heads, checkpoint } = evidence.receiptFor(deviceKey);
    // A receipt names the device's newest entry: nothing to say while it has none.
    if (entry === null) return;
    const at = now();
    this.sentAt.set(deviceId, at);
    const payload = encodeReceipt({
      at,
      boots: boots.map((boot) => [
        boot.bootCounter,
        boot.bootSeed,
        boot.settledThrough,
        boot.ranges,
        boot.rejected,
      ]) as unknown as Receipt['boots'],
      entry: [entry.index, entry.leafHash],
      heads: heads as unknown as Receipt['heads'],
      checkpoint,
    });
    const externalAad = downAad(network, 'receipt', deviceId);
    const envelope = seal({ contentType: CONTENT_TYPES.cbor, payload, externalAad, signer });
    if (publishDown(deviceId, 'receipt', { envelope })) this.count += 1;
  }
}
