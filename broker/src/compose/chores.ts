/** What is done every so often: counters over MQTT, a line in the log, tallies of rejects, what ends soon. */

import type { DescriptorWatch } from '../observe/descriptor-watch.ts';
import { SystemTopics, systemSnapshot } from '../observe/system-topics.ts';
import { verdictSummary } from '../observe/verdict-summary.ts';
import type { Foundation } from './foundation.ts';
import type { Intake } from './intake.ts';
import type { RejectTally } from './reject-tally.ts';
import type { Rights } from './rights.ts';
import type { Watching } from './watching.ts';

const TALLY_INTERVAL_MS = 60_000;
const APPLIED_INTERVAL_MS = 30_000;
/** How often it is looked what ends soon: the descriptor, credentials. */
const LOOK_AHEAD_MS = 60_000;

/** Begins them, with a first round of those that people look at. */
export function startChores(
  base: Foundation,
  parts: {
    readonly rights: Rights;
    readonly intake: Intake;
    readonly watching: Watching;
    readonly tally: RejectTally;
    readonly descriptorWatch: DescriptorWatch;
  },
): void {
  const { rights, intake, watching, tally, descriptorWatch } = parts;
  const { config, network, evidence, now, log, cleanup } = base;
  const { quarantine, outages, credentials, settle } = rights;
  const { counters, plainBroker } = intake;
  let summedUp = counters.values();
  const logVerdicts = () => {
    const before = summedUp;
    summedUp = counters.values();
    const summary = verdictSummary(before, summedUp);
    if (summary !== null) log.info({ event: 'verdicts', ...summary }, 'verdicts: since the last');
  };
  const systemTopics = new SystemTopics(network);
  const publishCounters = () => {
    const { mqtt, deviceCounts } = watching;
    const sources = { counters, evidence, mqtt, deviceCounts };
    const snapshot = systemSnapshot({ ...sources, quarantine, outages });
    for (const { topic, payload } of systemTopics.changes(snapshot, now())) {
      plainBroker.announce(topic, Buffer.from(payload), true);
    }
  };
  const lookAhead = () => {
    void descriptorWatch.check();
    credentials.check();
  };
  const timers = [
    setInterval(lookAhead, LOOK_AHEAD_MS),
    setInterval(publishCounters, config.countersIntervalMs),
    setInterval(logVerdicts, TALLY_INTERVAL_MS),
    setInterval(() => {
      tally.write().catch((error: unknown) => log.error({ err: error }, 'tally: not written'));
    }, TALLY_INTERVAL_MS),
    setInterval(() => void settle(), APPLIED_INTERVAL_MS),
  ];
  cleanup.push(() => {
    timers.forEach(clearInterval);
    logVerdicts();
  });
  publishCounters();
  lookAhead();
}
