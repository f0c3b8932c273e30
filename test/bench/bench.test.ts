/** The benchmarks run and say what they should; their speeds are judged by people, not by tests. */

import { join } from 'node:path';
import { type BenchReport, benchCase, formatReport, median } from '@fieldproof/bench/result';
import { describe, expect, test } from '@jest/globals';
import { runProgram } from '../support/network.ts';
import { describeWith, REPOSITORY } from '../support/services.ts';

async function bench(...args: string[]): Promise<BenchReport> {
  const { code, stdout, stderr } = await runProgram('bench/src/main.ts', [...args, '--json']);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as BenchReport;
}

describe('a benchmark case', () => {
  test('is the median with its spread, and judged by the goal on the value', () => {
    const row = benchCase({
      case: 'x',
      unit: 'ms',
      values: [3, 1, 2],
      goal: { on: 'value', max: 1.5 },
    });
    expect(row).toMatchObject({ value: 2, min: 1, max: 3, runs: 3, ratio: null, reached: false });
  });

  test('is judged by its ratio to the peer that the goal names', () => {
    const goal = { on: 'ratio', min: 2.5, peer: 'theirs' } as const;
    const row = benchCase({ case: 'x', unit: '/s', values: [30], peers: { theirs: 10 }, goal });
    expect(row).toMatchObject({ ratio: 3, reached: true });
    expect(formatReport({ name: 'x', machine: 'm', cases: [row], notes: [] })).toContain('| yes |');
  });

  test('has no verdict when its peer was not measured', () => {
    const goal = { on: 'ratio', min: 2.5, peer: 'theirs' } as const;
    expect(benchCase({ case: 'x', unit: '/s', values: [30], goal }).reached).toBeNull();
  });

  test('takes the mean of the middle two of an even number', () => {
    expect(median([4, 1, 2, 3])).toBe(2.5);
  });
});

describeWith(['influxd', 'mosquitto'], 'npm run bench -- e2e', () => {
  test('stores every reading that was sent, and its peers run beside it', async () => {
    const report = await bench('e2e', '--short');
    // Stored as the peers store, and by the flow that we ship; each to either peer.
    expect(report.cases).toHaveLength(4);
    for (const { value, peers } of report.cases) {
      expect(value).toBeGreaterThan(0);
      expect(Object.keys(peers).length).toBeLessThanOrEqual(1);
    }
    expect(report.notes.join('\n')).toContain('Nothing was lost');
    expect(report.notes.join('\n')).toMatch(/one by one, readings\/s tried: 200/);
  });
});

describeWith(['influxd'], 'npm run bench -- memory', () => {
  test('tells the growth of each process, and that nothing was lost', async () => {
    const report = await bench('memory', '--short');
    const names = ['broker', 'flows', 'control', 'influxd', 'load generator'];
    expect(report.cases.map(({ case: name }) => name)).toEqual(names.map((n) => `${n}, growth`));
    expect(Object.keys(report.details ?? {})).toEqual(names);
    expect(report.notes.join('\n')).toContain('Nothing was lost');
    expect(report.notes.join('\n')).toMatch(/broker: resident \d+ → \d+ MiB/);
  });
});

describe('npm run bench', () => {
  test('wire: SenML takes at most 14 bytes a reading and columns at most 7, signature and topic included', async () => {
    const report = await bench('wire');
    expect(report.cases.map(({ case: name, reached }) => [name, reached])).toEqual([
      ['senml', true],
      ['columns', true],
    ]);
  });

  test('log: appends and proves', async () => {
    const report = await bench('log', '--short');
    expect(report.cases).toHaveLength(2);
    for (const { value } of report.cases) expect(value).toBeGreaterThan(0);
  });

  test('gate: everything sent over real connections is verified, recorded and counted', async () => {
    const report = await bench('gate', '--short');
    expect(report.cases.map(({ unit }) => unit)).toEqual(['messages/s', 'ms']);
    expect(report.cases[0]?.ratio).toBeGreaterThan(0);
    expect(report.notes.join('\n')).toMatch(/counted 4\d\d\d accepted, as many as were sent/);
  });

  test('connections: what a connected device costs, and what those that are idle cost the others', async () => {
    const report = await bench('connections', '--short');
    expect(report.cases.map(({ unit }) => unit)).toEqual(['bytes', 'bytes', 'messages/s']);
    expect(report.cases[2]?.ratio).toBeGreaterThan(0);
    expect(report.notes.join('\n')).toMatch(/CPU time of the broker, median of 1 turns: \d+ µs/);
  });

  test('siege: honest devices beside every attack', async () => {
    const report = await bench('siege', '--short');
    expect(report.cases.map(({ case: name }) => name.slice(0, 10))).toEqual([
      'PUBACK p50',
      'PUBACK p99',
    ]);
    expect(report.notes.join('\n')).toMatch(/1 × 400 batches each way, all acknowledged/);
    expect(report.notes.join('\n')).toMatch(/forgeries: 1 opened, 0 cut, \d+ messages refused/);
  });

  test('nab: the anomaly score beside published detectors, by file', async () => {
    const { code, stdout } = await runProgram('bench/src/main.ts', ['nab', '--json', '--short'], {
      env: { VECTORS_DIR: join(REPOSITORY, 'test/vectors') },
    });
    expect(code).toBe(0);
    const report = JSON.parse(stdout) as BenchReport;
    expect(report.cases.map(({ case: name, reached }) => [name, reached])).toEqual([
      ['standard, best threshold', true],
      ['standard, own threshold', true],
      ['reward_low_FP_rate, best threshold', true],
      ['reward_low_FP_rate, own threshold', true],
      ['reward_low_FN_rate, best threshold', true],
      ['reward_low_FN_rate, own threshold', true],
      ['detections in files without anomalies, own threshold', true],
    ]);
    expect(Object.keys(report.details ?? {})).toHaveLength(4);
    expect(report.notes.join('\n')).toContain('occupancy_6005 1/1');
  });

  test('names the benchmarks, and refuses an unknown one', async () => {
    const list = await runProgram('bench/src/main.ts', ['--list']);
    expect(list.stdout).toMatch(/^wire +/m);
    const unknown = await runProgram('bench/src/main.ts', ['speed']);
    expect(unknown).toMatchObject({ code: 2 });
    expect(unknown.stderr).toContain('--list');
  });
});
