/**
 * The order of suites where nothing is known of their durations, as in a fresh clone: those that start whole networks
 * first, so that no worker is left alone with them in the end. Else jest's own order.
 */
import Sequencer from '@jest/test-sequencer';

const SLOW = [
  'test/faults/',
  'test/system/rebuild',
  'test/packaging/',
  'test/bench/',
  'test/flows/flows-main',
  'test/system/',
  'test/torn/',
  'test/pressure/',
  'test/broker/evidence/',
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
