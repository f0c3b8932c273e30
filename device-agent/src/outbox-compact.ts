/** Deletion: whole segments of which nothing waits any more, and the books of boots that are done with. */

import { codeOf, reasonOf } from './errors.ts';
import type { Log } from './log.ts';
import type { OutboxCard } from './outbox-card.ts';
import { isProved, pendingIn } from './outbox-contents.ts';
import type { OutboxLedger } from './outbox-ledger.ts';

/**
 * Deletes segments in which nothing waits, after the marks that say so are durable. What cannot be deleted now is found
 * again later.
 *
 * @param options.isInFront - whether the front has envelopes of the boot with this key.
 */
export async function compact(options: {
  readonly card: OutboxCard;
  readonly ledger: OutboxLedger;
  readonly log: Log;
  readonly isInFront: (key: string) => boolean;
}): Promise<void> {
  const { card, ledger, log, isInFront } = options;
  const { active } = card;
  let gone = card.segments.filter(
    (each) => each !== active && pendingIn(each, ledger).length === 0,
  );
  if (gone.length === 0) return;
  try {
    await card.writeMarks();
    await card.sync();
  } catch (error) {
    log.warn('outbox marks not written', { reason: reasonOf(error), code: codeOf(error) });
    // On a full disk only a deletion makes room for the marks. What the network has proved may go without
    // them: after a crash it would be declared again, and a gap covers nothing that is recorded.
    const proved = gone.filter((segment) => isProved(segment, ledger));
    if (codeOf(error) !== 'ENOSPC' || proved.length === 0) return;
    gone = proved;
  }
  try {
    await card.remove(gone);
  } catch (error) {
    // Nothing is lost: they are found settled again later.
    log.warn('outbox not compacted', { reason: reasonOf(error) });
    return;
  }
  const newest = ledger.highestBootCounter;
  for (const entry of ledger.boots()) {
    const isUsed = card.segments.some(({ members }) => members.has(entry.key));
    const owes = entry.dropped.ranges().some(([from, to]) => !entry.settled.hasRange(from, to));
    const isNewest = entry.boot.counter === newest;
    if (!isUsed && !isInFront(entry.key) && !owes && !isNewest) ledger.forget(entry.boot);
  }
}
