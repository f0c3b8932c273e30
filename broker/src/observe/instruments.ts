/** What is measured while the broker runs and has no other home: durations of the disk, HTTP requests, checkpoints. */

import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { FileLayer } from '../evidence/file-layer.ts';
import { DISK_SECONDS, Histogram } from './histogram.ts';
import { HttpTally } from './http-tally.ts';
import { type ProcessWatch, watchProcess } from './process-metrics.ts';
import { timedFiles } from './timed-files.ts';

export class Instruments {
  readonly commits = new Histogram(DISK_SECONDS);
  readonly syncs = new Histogram(DISK_SECONDS);
  readonly requests = new HttpTally();
  readonly process: ProcessWatch = watchProcess();
  readonly #now: () => number;
  #checkpointAt: number | null = null;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** When the newest checkpoint was published, Unix ms; null while there is none. */
  get checkpointAt(): number | null {
    return this.#checkpointAt;
  }

  /** What to give an evidence log so that it is measured. */
  evidenceOptions(files: FileLayer) {
    return {
      files: timedFiles(files, (seconds) => this.syncs.observe(seconds)),
      onCommitted: (durationMs: number) => this.commits.observe(durationMs / 1000),
      onPublished: () => {
        this.#checkpointAt = this.#now();
      },
    };
  }

  /** Takes the time of the checkpoint that is there from its file. */
  foundCheckpoint(publishedFolder: string): void {
    const found = statSync(join(publishedFolder, 'checkpoint'), { throwIfNoEntry: false });
    this.#checkpointAt ??= found?.mtimeMs ?? null;
  }

  stop(): void {
    this.process.stop();
  }
}
