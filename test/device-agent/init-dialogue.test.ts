import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { initAgent } from '@fieldproof/device-agent/init';
import { loadOwnership } from '@fieldproof/device-agent/owner';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { agentCli } from '../support/agent-cli.ts';
import { FakeNetwork } from './fake-network.ts';

const PHRASE = 'legal winner thank year wave sausage worth useful legal winner thank yellow';
const OWNER = /^owner +(did:key:\S+)/m;

let network: FakeNetwork;
let folder: string;

beforeEach(async () => {
  network = new FakeNetwork();
  await network.start();
  folder = await mkdtemp(join(tmpdir(), 'agent-dialogue-'));
});
afterEach(async () => {
  await network.stop();
  await rm(folder, { recursive: true });
});

const data = () => join(folder, 'data');

/** A person who gives these answers, then leaves. */
async function talk(
  answers: readonly (string | undefined)[],
  options: { readonly phrases?: readonly string[]; readonly args?: readonly string[] } = {},
) {
  const left = [...answers];
  const phrases = [...(options.phrases ?? [])];
  const run = await agentCli(['init', '--data', data(), ...(options.args ?? [])], {
    root: folder,
    ask: async () => left.shift(),
    askPhrase: async () => phrases.shift() ?? '',
  });
  return { ...run, left };
}

describe('init at a terminal', () => {
  test('asks for the join line, a name, the owner and the sensors, and shows the phrase once', async () => {
    const { code, out, err, left } = await talk([network.joinLine(), 'balcony', '', '', '']);
    expect({ code, err, left }).toEqual({ code: 0, err: '', left: [] });
    expect(out).toMatch(/\n {4}(?:[a-z]+ ){11}[a-z]+\n\nEnter when it is written down\. /);
    expect(out).toMatch(/network +testnet1, enrolled\nsensors +system, in .*agent\.yaml\n/);
    const yaml = await readFile(join(data(), 'agent.yaml'), 'utf8');
    expect(yaml).toMatch(/^name: "balcony"$/m);
    expect(yaml).toMatch(/^ {2}- driver: system$/m);
  });

  test('says what is wrong with an answer, and asks again', async () => {
    const answers = [
      'htp://x',
      network.joinLine(),
      'x'.repeat(65),
      'roof',
      'q',
      '',
      '7',
      'none',
      '',
    ];
    const { code, out, left } = await talk(answers);
    expect({ code, left }).toEqual({ code: 0, left: [] });
    expect(out).toMatch(/join line: expected text that begins with fieldproof:/);
    expect(out).toMatch(/name: expected a name of 1 to 64 characters/);
    expect(out).toMatch(/owner: expected Enter or p, got q/);
    expect(out).toMatch(/sensors: expected all, none, 1 or system, got "7"/);
    expect(await readFile(join(data(), 'agent.yaml'), 'utf8')).toMatch(/^sensors: \[\]$/m);
  });

  test('takes the phrase of an owner who has one, and never shows it', async () => {
    const phrases = ['legal winner', PHRASE];
    const { code, out } = await talk([network.joinLine(), '', 'p', ''], { phrases });
    expect(code).toBe(0);
    expect(out).toContain('phrase: expected twelve BIP-39 words');
    expect(out).not.toContain('sausage');
    expect((await loadOwnership(data()))!.owner).toBe(OWNER.exec(out)![1]);
  });

  test.each([0, 1, 2, 3])('who leaves after %i answers has made nothing', async (count) => {
    const answers = [network.joinLine(), 'balcony', '', ''].slice(0, count);
    const { code, err } = await talk([...answers, undefined]);
    expect(code).toBe(130);
    expect(err).toMatch(/^fieldproof-agent: ERR_AGENT_INTERRUPTED: .*Nothing was made/);
    await expect(stat(data())).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('asks only for what no flag says, and a second time only for the join line', async () => {
    const args = ['--name', 'roof', '--sensors', 'none', '--owner', 'NEW'];
    expect(await talk([network.joinLine(), ''], { args })).toMatchObject({ code: 0, left: [] });
    const again = await talk([network.joinLine()]);
    expect(again).toMatchObject({ code: 0, left: [] });
    expect(again.out).toContain('its key stays');
    expect(again.out).not.toContain('recovery phrase');
  });

  test('an init that fails leaves no owner whose phrase nobody has seen', async () => {
    await mkdir(join(data(), 'agent.yaml'), { recursive: true });
    const random = (length: number) => new Uint8Array(randomBytes(length));
    const joinLine = network.joinLine();
    const init = { dataDir: data(), joinLine, name: 'x', owner: { type: 'new' }, random } as const;
    await expect(initAgent(init)).rejects.toMatchObject({ code: 'EISDIR' });
    expect(await loadOwnership(data())).toBeUndefined();
    await rm(join(data(), 'agent.yaml'), { recursive: true });
    const second = await talk([], { args: ['--join', joinLine] });
    expect(second.out).toContain("The owner's recovery phrase");
  });

  test('with --join there are no questions', async () => {
    const args = ['--join', network.joinLine()];
    const { code, out } = await talk([], { args });
    expect(code).toBe(0);
    expect(out).not.toContain('?');
  });
});
