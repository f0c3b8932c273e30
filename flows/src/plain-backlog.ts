/**
 * What a store or window node has in hand of plain messages: nothing holds back a flow that sends them, and nothing takes
 * them while the store is down, so there is a limit, above which they are refused.
 *
 * Readings that a telemetry node sends as plain messages are counted apart: a flow of one's own cannot crowd them out.
 */
import { type ReadingTable, readingCount } from '@fieldproof/compute/readings';
import { FlowsError } from './errors.ts';
import { hub } from './hub.ts';
import type { Message } from './node-red-api.ts';
import { tablesOf } from './plain-readings.ts';

/** Readings, unless the installation says otherwise (maxWaitingReadings). */
const MAX_WAITING_READINGS = 200_000;

/** Resolves when the tables are put away; with false when they cannot be. */
export type PutAway = (
  tables: readonly ReadingTable[],
  atMs: number | undefined,
) => Promise<boolean>;

/** Of one node. */
export class PlainBacklog {
  readonly #waiting = { evidence: 0, other: 0 };
  #refused = 0;
  #problem: FlowsError | undefined;

  /** While messages are refused: why, and how many were in a row. ERR_STORE_BACKLOG. */
  get problem(): FlowsError | undefined {
    return this.#problem;
  }

  /**
   * Puts the readings of a message away, and tells the batch that they are of, if any.
   *
   * @throws {FlowsError} ERR_READING_SHAPE, ERR_STORE_BACKLOG; and what `putAway` throws.
   */
  async take({ payload, fieldproof }: Message, putAway: PutAway): Promise<void> {
    const tables = tablesOf(payload);
    const { origins, installation } = hub();
    const origin = origins.get(fieldproof?.origin ?? '');
    const kind = origin === undefined ? 'other' : 'evidence';
    const readings = tables.reduce((sum, table) => sum + Math.max(1, readingCount(table)), 0);
    const most = installation.maxWaitingReadings ?? MAX_WAITING_READINGS;
    const waiting = this.#waiting[kind];
    origin?.claim();
    if (waiting > 0 && waiting + readings > most) {
      origin?.release(false);
      throw this.#refuse(`readings in hand: expected at most ${most}, got ${waiting + readings}`);
    }
    this.#refused = 0;
    this.#problem = undefined;
    this.#waiting[kind] += readings;
    let isStored = false;
    try {
      isStored = await putAway(tables, origin?.atMs);
    } finally {
      this.#waiting[kind] -= readings;
      if (this.#waiting[kind] === 0) this.#problem = undefined;
      origin?.release(isStored);
    }
  }

  #refuse(message: string): FlowsError {
    this.#refused++;
    const text = `${this.#refused} refused: ${message}`;
    this.#problem = new FlowsError('ERR_STORE_BACKLOG', text);
    return new FlowsError('ERR_STORE_BACKLOG', message);
  }
}
