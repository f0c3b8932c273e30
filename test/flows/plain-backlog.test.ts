import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hub } from '@fieldproof/flows/hub';
import registerStore from '@fieldproof/flows/nodes/fieldproof-store';
import registerWindow from '@fieldproof/flows/nodes/fieldproof-window';
import { PlainBacklog } from '@fieldproof/flows/plain-backlog';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { until } from '../analytics/projection/tail-server.ts';
import { FakeRed } from './fake-red.ts';

let folder = '';
const { installation, origins } = hub();
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'backlog-'));
  installation.dataDir = folder;
});
afterEach(() => {
  Object.assign(installation, { dataDir: undefined, maxWaitingReadings: undefined });
  installation.maxUnstoredRows = undefined;
  origins.clear();
  rmSync(folder, { recursive: true });
});

const reading = (time: number) => ({ device: 'd', metric: 't', value: 1, time });
const code = (error: unknown) => (error as { code?: string } | undefined)?.code;

/** A store that answers when it is told to. */
function slowStore() {
  const answers: (() => void)[] = [];
  const write = () =>
    new Promise<boolean>((resolve) => {
      answers.push(() => resolve(true));
    });
  return { answers, write };
}

test('plain messages above the limit are refused, until the store has taken some', async () => {
  installation.maxWaitingReadings = 3;
  const backlog = new PlainBacklog();
  const { answers, write } = slowStore();
  const payload = [reading(1), reading(2)];
  const first = backlog.take({ payload }, write);
  for (let n = 1; n <= 2; n++) {
    const refused = backlog.take({ payload }, write);
    await expect(refused).rejects.toMatchObject({
      code: 'ERR_STORE_BACKLOG',
      message: 'readings in hand: expected at most 3, got 4',
    });
    expect(backlog.problem?.message).toContain(`${n} refused`);
  }
  const second = backlog.take({ payload: reading(3) }, write);
  expect(backlog.problem).toBeUndefined();
  for (const answer of answers.splice(0)) answer();
  await Promise.all([first, second]);
  // One that is larger than the limit by itself is taken when there is nothing else.
  const third = backlog.take({ payload: [...payload, ...payload] }, write);
  expect(answers).toHaveLength(1);
  answers[0]!();
  await third;
});

test('a message without readings counts too', async () => {
  installation.maxWaitingReadings = 1;
  const backlog = new PlainBacklog();
  const { write } = slowStore();
  const payload = { device: 'd', times: [], metrics: {} };
  void backlog.take({ payload }, write);
  await expect(backlog.take({ payload }, write)).rejects.toMatchObject({
    code: 'ERR_STORE_BACKLOG',
  });
});

test('readings of the evidence are not crowded out by other messages, and a refusal lets their batch go', async () => {
  installation.maxWaitingReadings = 1;
  const backlog = new PlainBacklog();
  const { answers, write } = slowStore();
  const told: unknown[] = [];
  origins.set('o', { atMs: 7, claim: () => told.push('claim'), release: (is) => told.push(is) });
  const fieldproof = { origin: 'o' };
  void backlog.take({ payload: reading(1) }, write);
  const taken = backlog.take({ payload: reading(1), fieldproof }, (_tables, atMs) => {
    told.push(atMs);
    return write();
  });
  await expect(backlog.take({ payload: reading(2), fieldproof }, write)).rejects.toThrow();
  expect(told).toEqual(['claim', 7, 'claim', false]);
  for (const answer of answers) answer();
  await taken;
  expect(told).toEqual(['claim', 7, 'claim', false, true]);
});

test('a window node whose rows no store takes refuses plain messages in red, and goes on afterwards', async () => {
  installation.maxUnstoredRows = 1;
  installation.maxWaitingReadings = 5;
  const def = { id: 'w', type: 'fieldproof-window', size: 1, grace: 0, wires: [['s']] };
  const red = new FakeRed(folder, [def, { id: 's', type: 'fieldproof-store', wires: [] }]);
  registerWindow(red);
  const node = red.create(def);
  red.events.emit('flows:started');
  expect(await node.take({ payload: reading(Date.now() - 5000) })).toBeUndefined();
  await until(() => node.sent.length === 1);
  let settled = 0;
  const taken = [1, 2, 3, 4, 5].map(async (n) => {
    expect(await node.take({ payload: reading(Date.now() - n) })).toBeUndefined();
    settled++;
  });
  for (let n = 0; n < 20; n++) {
    expect(code(await node.take({ payload: reading(n) }))).toBe('ERR_STORE_BACKLOG');
  }
  await until(() => node.statuses.at(-1)?.fill === 'red');
  expect(node.statuses.at(-1)?.text).toMatch(/^ERR_STORE_BACKLOG: 20 refused: /);
  expect(settled).toBe(0);
  const { id } = node.sent[0]!.payload as { id: string };
  hub().batches.get(id)!.acknowledge('s');
  await Promise.all(taken);
  expect(await node.take({ payload: reading(Date.now()) })).toBeUndefined();
  await until(() => node.statuses.at(-1)?.fill !== 'red');
  await node.close();
});

test('a store node that has too much in hand says so in red', async () => {
  installation.maxWaitingReadings = 1;
  const red = new FakeRed(folder);
  registerStore(red);
  const { write, answers } = slowStore();
  const done = async () => ({ lines: 1, refused: 0, isDone: await write() });
  red.nodes.createNode(
    { writer: () => ({ write: done }), attempts: new Set() },
    {
      id: 'n',
      type: '',
    },
  );
  const node = red.create({ id: 's', type: 'fieldproof-store', network: 'n' });
  const first = node.take({ payload: reading(1) });
  expect(code(await node.take({ payload: reading(2) }))).toBe('ERR_STORE_BACKLOG');
  await until(() => node.statuses.at(-1)?.fill === 'red');
  expect(node.statuses.at(-1)?.text).toMatch(/^ERR_STORE_BACKLOG 1 refused: /);
  answers[0]!();
  expect(await first).toBeUndefined();
  const second = node.take({ payload: reading(2) });
  answers[1]!();
  expect(await second).toBeUndefined();
  await until(() => node.statuses.at(-1)?.fill === 'green');
  await node.close();
});
