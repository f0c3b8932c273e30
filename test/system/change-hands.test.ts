import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from '../broker/support/broker.ts';
import { agentCli } from '../support/agent-cli.ts';

const HEIR = 'legal winner thank year wave sausage worth useful legal winner thank yellow';
const STRANGER = 'letter advice cage absurd amount doctor acoustic avoid letter advice cage above';

let broker: TestBroker;
const folder = mkdtempSync(join(tmpdir(), 'fieldproof-hands-'));
const data = join(folder, 'balcony');

beforeAll(async () => {
  broker = await startTestBroker();
});

afterAll(async () => {
  await broker.close();
  rmSync(folder, { recursive: true });
});

/** Runs the agent's command line; the phrase is typed, never an argument. */
const agent = (args: readonly string[], phrase = '') =>
  agentCli(args, { askPhrase: async () => phrase });

test('a device is handed over by two people with two commands, and says so from then on', async () => {
  const joined = await agent([
    ...['init', '--join', await broker.joinLine(), '--data', data, '--name', 'balcony', '--json'],
  ]);
  const { deviceId, phrase } = JSON.parse(joined.out) as { deviceId: string; phrase: string };
  const { network } = broker.running;

  const consent = await agent(['consent', '--device', deviceId, '--network', network], HEIR);
  expect(consent).toMatchObject({ code: 0, err: '' });
  const [, owner] = /^owner +(did:key:\S+)$/m.exec(consent.out)!;
  const file = join(folder, 'consent.txt');
  writeFileSync(file, consent.out);

  const transfer = ['transfer', '--data', data, '--owner', owner!, '--ownership-file', file];
  const byStranger = await agent(transfer, STRANGER);
  expect(byStranger).toMatchObject({ code: 77, out: '' });
  expect(byStranger.err).toContain('ERR_AGENT_TRANSFER_REFUSED: transfer: ERR_SIGNATURE_INVALID');
  expect(await agent(transfer, 'no such words')).toMatchObject({ code: 64 });

  const done = await agent(transfer, phrase);
  expect(done).toMatchObject({ code: 0, err: '' });
  const { body } = await broker.admin('GET', `/admin/devices/${deviceId}`);
  expect(body).toMatchObject({ owner });
  expect(readFileSync(join(data, 'owner.json'), 'utf8')).toContain(owner);
  for (const { out } of [byStranger, done]) expect(out).not.toContain(phrase);

  // The new owner may say so to the agent as well.
  const words = join(folder, 'words');
  writeFileSync(words, HEIR);
  const again = await agent([
    ...['init', '--join', await broker.joinLine(), '--data', data, '--owner-phrase-file', words],
  ]);
  expect(again).toMatchObject({ code: 0 });
});

test('a new owner without a phrase gets one, once, for the very device', async () => {
  const device = await broker.device();
  const made = await agent([
    ...['consent', '--device', device.id, '--network', device.network, '--new-owner', '--json'],
  ]);
  const { owner, statement, phrase } = JSON.parse(made.out) as Record<string, string>;
  const path = `/admin/devices/${device.id}/transfer`;
  const reason = 'the owner has died';
  const answer = await broker.admin('POST', path, { owner, ownership: statement, reason });
  expect(answer.body).toMatchObject({ owner });
  const typed = await agent(
    ['consent', '--device', device.id, '--network', device.network],
    phrase,
  );
  expect(typed.out).toContain(owner);
});

test.each([
  ['--device', ['consent', '--device', 'z6Mkme', '--network', 'abcdefgh']],
  [
    '--network',
    ['consent', '--device', 'z6MkfDRC7Y5TSZ2h4PFbNWJcfQfo5SzijZ4qtwbkWrUQuyzY', '--network', 'No!'],
  ],
])('a %s that is none is said to be', async (flag, args) => {
  const { code, err } = await agent(args, HEIR);
  expect(code).toBe(64);
  expect(err).toContain(`ERR_AGENT_USAGE: ${flag}`);
});
