/** What `status` says of edge functions. */

import type { TimeLine } from './raw-frame.ts';

export interface EdgeStreamStatus {
  /** `<profile>/<metric>` */
  readonly stream: string;
  readonly text: string;
  readonly send: 'results' | 'both';
  /** Readings since the stream began: given, and of those refused, late, at the time of another. */
  readonly given: number;
  readonly rejected: number;
  readonly late: number;
  readonly duplicate: number;
  /** Results that are too large to be numbers of a measurement, or more than one reading may give at once. */
  readonly overflowed: number;
  /** Readings of blocks with uneven distances. */
  readonly discarded: number;
  /** Results sealed since the start. */
  readonly results: number;
}

export interface EdgeStatus {
  readonly streams: readonly EdgeStreamStatus[];
  /** Keys of the configuration of which no reading has come. */
  readonly unseen: readonly string[];
  /** Null before the first run. */
  readonly line: TimeLine | null;
  /** Messages sealed since the start. */
  readonly results: number;
  /** Readings that are in no result. */
  readonly lost: number;
  /** How often the streams began anew, and why the last time. */
  readonly begunAnew: number;
  readonly lastReason: string | null;
  /** Raw chunks kept since the start. */
  readonly chunks: number;
  /** Readings that are not in a result yet. */
  readonly waiting: number;
  readonly raw: {
    readonly bytes: number;
    readonly maxBytes: number;
    readonly segments: number;
    readonly evicted: number;
    readonly damagedBytes: number;
  };
}

/** Lines for a person. */
export function formatEdge(edge: EdgeStatus): [name: string, value: string][] {
  const { streams, unseen, raw } = edge;
  const rows = streams.map((each): [string, string] => {
    const { given, results, send } = each;
    const sent = send === 'both' ? ', readings sent as well' : '';
    const odd = (['rejected', 'late', 'duplicate', 'overflowed', 'discarded'] as const)
      .filter((name) => each[name] > 0)
      .map((name) => `, ${each[name]} ${name}`);
    const figures = `${given} readings, ${results} results${odd.join('')}${sent}`;
    return ['edge', `${each.stream}, ${each.text}: ${figures}`];
  });
  if (unseen.length > 0) {
    rows.push(['edge unused', `${unseen.join(', ')}: no sensor has given such a reading yet`]);
  }
  const time = edge.line === null ? 'waits for the clock' : `${edge.line} time`;
  const anew =
    edge.begunAnew > 0 ? `, begun anew ${edge.begunAnew} times, last: ${edge.lastReason}` : '';
  const lost = edge.lost > 0 ? `, ${edge.lost} readings in no result` : '';
  rows.push(['edge results', `${edge.results} sealed, ${time}${anew}${lost}`]);
  const gone = raw.evicted > 0 ? `, ${raw.evicted} old files gone` : '';
  rows.push(['raw readings', `${raw.bytes} of ${raw.maxBytes} bytes${gone}`]);
  return rows;
}
