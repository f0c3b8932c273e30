/** What the process itself uses, under the names that Prometheus' clients share. */

import { readdirSync, readFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { type Family, keyed, single } from './exposition.ts';

const NS_PER_S = 1e9;
const US_PER_S = 1e6;

export interface ProcessWatch {
  /** Delays of the event loop are those since the last call. */
  readonly families: () => readonly Family[];
  readonly stop: () => void;
}

export function watchProcess(): ProcessWatch {
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  const startedAt = Date.now() / 1000 - process.uptime();
  const families = (): readonly Family[] => {
    const { user, system } = process.cpuUsage();
    const { rss, heapUsed, heapTotal, external, arrayBuffers } = process.memoryUsage();
    const lags = {
      p50: delay.percentile(50) / NS_PER_S,
      p99: delay.percentile(99) / NS_PER_S,
      max: delay.max / NS_PER_S,
    };
    const isMeasured = delay.count > 0;
    delay.reset();
    return [
      single('counter', 'process_cpu_user_seconds_total', {
        help: 'User CPU time of all threads.',
        value: user / US_PER_S,
      }),
      single('counter', 'process_cpu_system_seconds_total', {
        help: 'System CPU time of all threads.',
        value: system / US_PER_S,
      }),
      single('counter', 'process_cpu_seconds_total', {
        help: 'User and system CPU time of all threads.',
        value: (user + system) / US_PER_S,
      }),
      single('gauge', 'process_start_time_seconds', {
        help: 'When the process started, Unix time.',
        value: startedAt,
      }),
      single('gauge', 'process_resident_memory_bytes', {
        help: 'Resident memory.',
        value: rss,
      }),
      ...descriptors(),
      keyed('gauge', 'nodejs_memory_bytes', {
        help: 'Memory as Node.js counts it.',
        label: 'kind',
        values: {
          heap_used: heapUsed,
          heap_total: heapTotal,
          external,
          arraybuffers: arrayBuffers,
        },
      }),
      ...Object.entries(isMeasured ? lags : {}).map(([name, value]) =>
        single('gauge', `nodejs_eventloop_lag_${name}_seconds`, {
          help: 'Delay of a timer of 20 ms since the last scrape; 0.02 is none.',
          value,
        }),
      ),
    ];
  };
  return { families, stop: () => delay.disable() };
}

/** Of Linux; elsewhere none. */
function descriptors(): readonly Family[] {
  try {
    const open = readdirSync('/proc/self/fd').length;
    const limits = readFileSync('/proc/self/limits', 'utf8');
    const max = Number(/^Max open files +(\d+)/m.exec(limits)?.[1]);
    return [
      single('gauge', 'process_open_fds', { help: 'Open file descriptors.', value: open }),
      ...(Number.isNaN(max)
        ? []
        : [
            single('gauge', 'process_max_fds', {
              help: 'Most file descriptors that it may have open.',
              value: max,
            }),
          ]),
    ];
  } catch {
    return [];
  }
}
