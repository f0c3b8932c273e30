/**
 * The order of suites where nothing is known of their durations, as in a fresh clone: those that start whole networks
 * first, the longest of them before all others, so that no worker is left alone with one in the end. Else jest's own order.
 */
import Sequencer from '@jest/test-sequencer';

const SLOW = [
  'test/faults/faults.',
  'test/packaging/packages.',
  'test/system/rebuild.',
  'test/bench/bench.',
  'test/flows/flows-main.',
  'test/system/npm-start.',
  'test/faults/influx-outage.',
  'test/pressure/',
  'test/system/',
  'test/torn/',
  'test/device-agent/agent.',
  'test/analytics/dashboard/dashboard.',
  'test/broker/evidence/',
  'test/broker/process.',
  'test/broker/gate-sockets.',
];

export default class SlowFirst extends Sequencer {
  async sort(tests) {
    const ordered = await super.sort(tests);
    return ordered.toSorted((a, b) => rankOf(a) - rankOf(b));
  }
}

function rankOf({ path }) {
  const rank = SLOW.findIndex((part) => path.includes(`/${part}`));
  return rank < 0 ? SLOW.length : rank;
}
