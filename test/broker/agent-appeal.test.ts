import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { askPhrase } from '@fieldproof/device-agent/ask-phrase';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { agentCli } from '../support/agent-cli.ts';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { readRegistryLog } from './support/registry-log.ts';

const PHRASE = 'legal winner thank year wave sausage worth useful legal winner thank yellow';
const OTHER =
  'abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about';

let broker: TestBroker;
let folder: string;
let data: string;
let deviceId: string;

async function agent(args: readonly string[], typed?: string) {
  return await agentCli([...args, '--data', data], {
    ...(typed !== undefined && { askPhrase: () => askPhrase(Readable.from([typed]), () => {}) }),
  });
}

beforeAll(async () => {
  broker = await startTestBroker();
  folder = mkdtempSync(join(tmpdir(), 'fieldproof-appeal-'));
  data = join(folder, 'data');
  writeFileSync(join(folder, 'phrase'), PHRASE);
  const owner = ['--owner-phrase-file', join(folder, 'phrase'), '--json'];
  const { out } = await agent(['init', '--join', await broker.joinLine(), ...owner]);
  deviceId = (JSON.parse(out) as { readonly deviceId: string }).deviceId;
});
afterAll(async () => {
  await broker.close();
  rmSync(folder, { recursive: true, force: true });
});

test('an owner sees why the device is suspended, appeals with the phrase, and sees the decision', async () => {
  expect(await agent(['standing'])).toEqual({ code: 0, out: 'standing     good\n', err: '' });
  const words = ['appeal', '--text', 'The copy was a backup.'];
  expect(await agent(words, PHRASE)).toMatchObject({
    code: 77,
    err: expect.stringContaining('never'),
  });

  const path = `/admin/devices/${deviceId}`;
  const { body } = await broker.admin('POST', `${path}/suspend`, { reason: 'a copy', forMs: 1e9 });
  const { index } = (body as { readonly suspension: { readonly index: number } }).suspension;
  const { out } = await agent(['standing']);
  expect(out).toMatch(
    /^standing +suspended\nsuspended +\S+Z until \S+Z \(entry \d+\)\nfor +operator: a copy\nappeal +possible until/,
  );
  expect((await agent(['login'])).code).toBe(0);

  expect(await agent(words, OTHER)).toMatchObject({
    code: 77,
    err: expect.stringMatching(/ERR_AGENT_APPEAL_REFUSED.*not that of the owner/),
  });
  expect(await agent(words, `${PHRASE.replaceAll(' ', '\n')}\n`)).toEqual({
    code: 0,
    out: expect.stringContaining(
      `recorded in entry ${index + 1}, against the suspension of entry ${index}`,
    ),
    err: '',
  });
  expect((await readRegistryLog(broker, deviceId)).at(-1)?.action.action).toBe('appeal');
  const again = await agent([...words, '--owner-phrase-file', join(folder, 'phrase')]);
  expect(again).toMatchObject({ code: 77, err: expect.stringContaining('ERR_APPEAL_CLOSED') });

  await broker.admin('POST', `/admin/appeals/${deviceId}/decide`, {
    outcome: 'lifted',
    reason: 'it was one',
  });
  const seen = await agent(['standing', '--json']);
  expect(JSON.parse(seen.out)).toMatchObject({
    standing: 'good',
    suspension: { decision: { outcome: 'lifted' } },
  });
});

test.each([
  ['without a text', ['appeal'], PHRASE, 64],
  ['with two', ['appeal', '--text', 'a', '--text-file', 'b'], PHRASE, 64],
  ['with a text that is too long', ['appeal', '--text', 'x'.repeat(1025)], PHRASE, 64],
  ['with a file that is not there', ['appeal', '--text-file', '/nowhere'], PHRASE, 64],
  ['with half a phrase', ['appeal', '--text', 'a'], 'legal winner', 64],
  ['with none', ['appeal', '--text', 'a'], ' \n', 64],
  ['with more than a phrase', ['appeal', '--text', 'a'], `${PHRASE} `.repeat(20), 64],
  ['where nobody can be asked', ['appeal', '--text', 'a'], undefined, 64],
])('an appeal %s is one line with a remedy', async (_what, args, typed, code) => {
  const answer = await agent(args, typed);
  expect(answer).toMatchObject({ code, out: '' });
  expect(answer.err).toMatch(/^fieldproof-agent: ERR_[A-Z_]+: .*\. \S.*\n$/);
  expect(answer.err).not.toContain('legal');
});
