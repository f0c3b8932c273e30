/**
 * What projections last said of themselves, and what that comes to: the one that is furthest behind counts, because
 * what it has not stored, some query does not see. In memory only: after a start it is known again within seconds.
 */
import type { ProblemReport, ProjectionStatus } from './providers.ts';

/** A report is fresh for so long; projections report every two seconds. */
const FRESH_MS = 30_000;
/** Names kept; protects this process's memory. */
const MAX_NAMES = 64;

/** As a projection reports it. */
export interface ProjectionReport {
  /** Index of the first entry that is not put away. */
  readonly nextIndex: number;
  /** The broker's time of the oldest entry that was read and is not put away, Unix ms. */
  readonly oldestUnstoredMs: number | null;
  /** Entries that wait for a time anchor. */
  readonly waiting?: number;
  /** What keeps it from going on. */
  readonly problem?: ProblemReport | null;
  /** Whether it hears the broker. */
  readonly connected?: boolean;
}

interface Kept extends ProjectionReport {
  readonly name: string;
  readonly atMs: number;
}

export class ProjectionBoard {
  readonly #clock: () => number;
  readonly #reports = new Map<string, Kept>();

  /** @param clock - Unix ms. */
  constructor(clock: () => number) {
    this.#clock = clock;
  }

  /** Takes a report in place of the one before. */
  put(name: string, report: ProjectionReport): void {
    this.#reports.delete(name);
    this.#reports.set(name, { ...report, name, atMs: this.#clock() });
    const [oldest] = this.#reports.keys();
    if (this.#reports.size > MAX_NAMES) this.#reports.delete(oldest!);
  }

  /**
   * The state of the projection; null while none has reported.
   *
   * @param evidenceSize - entries in the log, as the broker says; null while it does not answer.
   */
  status(evidenceSize: number | null): ProjectionStatus | null {
    const nowMs = this.#clock();
    const all = [...this.#reports.values()];
    const fresh = all.filter(({ atMs }) => nowMs - atMs <= FRESH_MS);
    // Without a fresh one, the newest says at least where it stopped.
    const [behind] =
      fresh.length > 0 ? fresh.sort((a, b) => a.nextIndex - b.nextIndex) : all.slice(-1);
    if (behind === undefined) return null;
    const { name, nextIndex, oldestUnstoredMs, atMs, problem = null } = behind;
    const size = Math.max(evidenceSize ?? 0, nextIndex);
    const isDone = nextIndex >= size && oldestUnstoredMs === null;
    const lagMs = isDone ? 0 : Math.max(0, nowMs - (oldestUnstoredMs ?? atMs));
    return { name, nextIndex, evidenceSize: size, lagMs, reportedMs: atMs, problem };
  }
}
