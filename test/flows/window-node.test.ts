import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hub } from '@fieldproof/flows/hub';
import registerWindow from '@fieldproof/flows/nodes/fieldproof-window';
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { until } from '../analytics/projection/tail-server.ts';
import { FakeRed } from './fake-red.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'window-node-'));
  hub().installation.dataDir = folder;
});
afterEach(() => {
  jest.restoreAllMocks();
  hub().installation.dataDir = undefined;
  rmSync(folder, { recursive: true });
});

test('rows that a function node keeps make the node yellow, then red with a code, until a store has them', async () => {
  let lateMs = 0;
  const clock = performance.now.bind(performance);
  jest.spyOn(performance, 'now').mockImplementation(() => clock() + lateMs);
  const def = { id: 'w', type: 'fieldproof-window', size: 1, grace: 0, wires: [['f']] };
  const red = new FakeRed(folder, [
    def,
    { id: 'f', type: 'function', wires: [['s']] },
    { id: 's', type: 'fieldproof-store', wires: [] },
  ]);
  registerWindow(red);
  const node = red.create(def);
  red.events.emit('flows:started');
  const payload = { device: 'd', metric: 't', value: 1, time: Date.now() - 5000 };
  expect(await node.take({ payload })).toBeUndefined();
  await until(() => node.sent.length === 1);
  for (let tries = 2; tries <= 5; tries++) {
    lateMs += 30_000;
    await until(() => node.sent.length === tries);
    if (tries > 2) continue;
    await until(() => node.statuses.at(-1)?.fill === 'yellow');
    expect(node.statuses.at(-1)?.text).toContain('1 unstored · 1 sent again, something keeps them');
  }
  await until(() => node.statuses.at(-1)?.fill === 'red');
  expect(node.statuses.at(-1)?.text).toMatch(/^ERR_ROWS_IGNORED: 1 groups of rows: .* by s$/);
  expect(hub().problems.get('w')?.code).toBe('ERR_ROWS_IGNORED');
  const { id } = node.sent[0]!.payload as { id: string };
  const batch = hub().batches.get(id)!;
  expect(batch.take('s')).toBe(true);
  batch.acknowledge('s');
  await until(() => node.statuses.at(-1)?.fill === 'green');
  expect(hub().problems.has('w')).toBe(false);
  await node.close();
});
