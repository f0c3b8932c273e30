import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AGENT_ERRORS, AgentError, toldCodeOf } from '@fieldproof/device-agent/errors';
import { fromBase64url } from '@fieldproof/protocol/bytes';
import { publicKeyFromDeviceId } from '@fieldproof/protocol/did-key';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { openLogin } from '@fieldproof/protocol/statements';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { agentCli } from '../support/agent-cli.ts';
import { until } from './fake-clock.ts';
import { FakeNetwork, NETWORK } from './fake-network.ts';

const PHRASE = 'legal winner thank year wave sausage worth useful legal winner thank yellow';

let network: FakeNetwork;
let folder: string;

beforeEach(async () => {
  network = new FakeNetwork();
  await network.start();
  folder = await mkdtemp(join(tmpdir(), 'agent-cli-'));
});
afterEach(async () => {
  await network.stop();
  await rm(folder, { recursive: true });
});

const cli = (args: string[], untilStopped: () => Promise<void> = async () => {}) =>
  agentCli(args, { untilStopped });

const data = () => join(folder, 'data');
const init = (...more: string[]) =>
  cli(['init', '--join', network.joinLine(), '--data', data(), ...more]);

describe('fieldproof-agent', () => {
  test('init makes key and owner, enrols, and prints the phrase once', async () => {
    const first = await init('--name', 'balcony');
    expect(first).toMatchObject({ code: 0, err: '' });
    expect(first.out).toMatch(/network +testnet1, enrolled/);
    const phrase = /\n {4}((?:[a-z]+ ){11}[a-z]+)\n/.exec(first.out)![1]!;
    const key = await readFile(join(data(), 'device.key'), 'utf8');
    for (const file of ['device.key', 'join-line', 'owner.json', 'agent.yaml']) {
      expect(await readFile(join(data(), file), 'utf8')).not.toContain(phrase);
      expect((await stat(join(data(), file))).mode & 0o077).toBe(0);
    }
    const second = await init();
    expect(second.code).toBe(0);
    expect(second.out).toMatch(/was here already/);
    expect(second.out).not.toMatch(/recovery phrase/);
    expect(await readFile(join(data(), 'device.key'), 'utf8')).toBe(key);
  });

  test('init takes an owner from a phrase, the same every time', async () => {
    const file = join(folder, 'phrase');
    await writeFile(file, `${PHRASE}\n`);
    const { out } = await init('--owner-phrase-file', file, '--json');
    const made = JSON.parse(out) as { owner: string; phrase?: string; enrolled: boolean };
    expect(made).toMatchObject({ enrolled: true, network: NETWORK });
    expect(made.phrase).toBeUndefined();
    const again = await cli([
      'init',
      '--join',
      network.joinLine(),
      '--data',
      join(folder, 'two'),
      '--owner-phrase-file',
      file,
      '--json',
    ]);
    expect((JSON.parse(again.out) as { owner: string }).owner).toBe(made.owner);
    await writeFile(file, PHRASE.replace('yellow', 'year'));
    expect(await init('--owner-phrase-file', file)).toMatchObject({ code: 64 });
  });

  test('a folder of another owner or network is not taken over', async () => {
    await init();
    const file = join(folder, 'phrase');
    await writeFile(file, PHRASE);
    expect(await init('--owner-phrase-file', file)).toMatchObject({ code: 74 });
    const other = new FakeNetwork();
    await other.start();
    const moved = await cli(['init', '--join', other.joinLine(), '--data', data()]);
    await other.stop();
    expect(moved).toMatchObject({ code: 74 });
  });

  test('run records until it is stopped; status tells, running or not', async () => {
    await init();
    let stop = () => {};
    const stopped = new Promise<void>((resolve) => {
      stop = resolve;
    });
    const args = [
      'run',
      '--data',
      data(),
      '--set',
      'batch.sealEveryMs=100',
      '--set',
      'log.format=json',
    ];
    const running = cli(args, () => stopped);
    await until(() => network.received.length > 0, 'the birth');
    expect((await cli(['status', '--data', data()])).out).toMatch(/agent +running, boot 1/);
    stop();
    const ran = await running;
    expect(ran.code).toBe(0);
    expect(JSON.parse(ran.out)).toMatchObject({ event: 'ready', network: NETWORK });
    for (const line of ran.err.trim().split('\n')) expect(() => JSON.parse(line)).not.toThrow();
    const status = await cli(['status', '--data', data(), '--json']);
    expect(JSON.parse(status.out)).toMatchObject({
      running: false,
      enrolled: true,
      boot: { counter: 1 },
    });
  });

  test('a refused enrolment, or a mistake, costs nobody the recovery phrase', async () => {
    const mistake = await init('--cell', 'here');
    expect(mistake).toMatchObject({ code: 78, out: '' });
    expect(mistake.err).toMatch(/cell: expected an H3 cell/);
    await expect(stat(data())).rejects.toMatchObject({ code: 'ENOENT' });
    network.enrolStatus = { status: 403, code: 'ERR_TOKEN_USED' };
    const refused = await init('--json');
    expect(refused.code).toBe(77);
    expect(JSON.parse(refused.out)).toMatchObject({
      enrolled: false,
      phrase: expect.stringMatching(/^([a-z]+ ){11}[a-z]+$/),
    });
  });

  test('no command, and a folder that cannot be written, are told in one line with a remedy', async () => {
    const none = await cli([]);
    expect(none).toMatchObject({ code: 64, out: '' });
    expect(none.err).toMatch(/^fieldproof-agent: ERR_AGENT_USAGE: expected a command.*--help\.\n$/);
    await writeFile(join(folder, 'file'), '');
    const joinLine = network.joinLine();
    const blocked = await cli(['init', '--join', joinLine, '--data', join(folder, 'file', 'x')]);
    expect(blocked.code).toBe(74);
    // The folder is there, but a name that is needed is taken by a folder.
    await mkdir(join(folder, 'taken', 'join-line'), { recursive: true });
    const taken = await cli(['init', '--join', joinLine, '--data', join(folder, 'taken')]);
    expect(taken.code).toBe(74);
    for (const { err } of [blocked, taken]) {
      expect(err).toMatch(/^fieldproof-agent: ERR_AGENT_STATE: [^\n]+\n$/);
      expect(err).not.toMatch(/\n +at |token=/);
    }
  });

  test('login prints a password that the broker accepts', async () => {
    await init();
    const { out } = await cli(['login', '--data', data(), '--json']);
    const { username, password } = JSON.parse(out) as { username: string; password: string };
    const publicKey = publicKeyFromDeviceId(username);
    const opened = openLogin(fromBase64url(password), {
      network: NETWORK,
      publicKey,
      verify,
      device: username,
    });
    expect(opened).toHaveLength(32);
  });

  test.each([
    [['frob'], 64, 'ERR_AGENT_USAGE'],
    [['init'], 64, 'ERR_AGENT_USAGE'],
    [['init', '--join', 'fieldproof://x'], 64, 'ERR_AGENT_JOIN_LINE'],
    [['run'], 66, 'ERR_AGENT_NOT_INITIALISED'],
    [['status'], 66, 'ERR_AGENT_NOT_INITIALISED'],
    [['login'], 66, 'ERR_AGENT_NOT_INITIALISED'],
  ] as const)('%j fails with one line, a code and a remedy', async (args, exitCode, code) => {
    const where = args[0] === 'frob' ? [] : ['--data', join(folder, 'none')];
    const { code: got, err } = await cli([...args, ...where]);
    expect(err).toMatch(/^fieldproof-agent: [^\n]+\n$/);
    expect(err).toContain(`${code}: `);
    expect(err).toContain(AGENT_ERRORS[code].remedy);
    expect(got).toBe(exitCode);
  });

  test('each mistake of a configuration has a line, with its place in the file', async () => {
    await init();
    await writeFile(join(data(), 'agent.yaml'), 'nmae: x\nbatch: { format: json }\n');
    const { code, err } = await cli(['run', '--data', data()]);
    expect(code).toBe(78);
    const lines = err.split('\n');
    expect(lines).toHaveLength(5);
    expect(lines[0]).toBe('fieldproof-agent: ERR_AGENT_CONFIG: 2 problems');
    expect(lines[1]).toMatch(/^ {2}agent\.yaml:1: nmae: unknown key/);
    expect(lines[2]).toBe('  agent.yaml:2: batch.format: expected columns or senml, got "json"');
    expect(lines[3]).toBe(AGENT_ERRORS.ERR_AGENT_CONFIG.remedy);
  });

  test('a key that others can read is refused', async () => {
    await init();
    const { chmod } = await import('node:fs/promises');
    await chmod(join(data(), 'device.key'), 0o644);
    expect(await cli(['run', '--data', data()])).toMatchObject({ code: 77 });
  });

  test.each(['{}', 'null', '[]', '{"counts":1}', '{"atMs":1e300}', '\0\0\0\0', ''])(
    'a status file of %j is none, and no mistake of the reader',
    async (content) => {
      await init();
      await writeFile(join(data(), 'status.json'), content);
      const { code, out } = await cli(['status', '--data', data()]);
      expect([code, out]).toEqual([0, expect.stringContaining('never ran')]);
    },
  );

  test("what another user's files keep from it is told as that", () => {
    const denied = Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' });
    for (const error of [
      denied,
      new AgentError('ERR_AGENT_KEY', 'device.key', { cause: denied }),
    ]) {
      expect(toldCodeOf(error)).toBe('ERR_AGENT_PERMISSION');
    }
    expect(toldCodeOf(new AgentError('ERR_AGENT_KEY', 'device.key'))).toBe('ERR_AGENT_KEY');
    expect(toldCodeOf(undefined)).toBeUndefined();
  });

  test('help is no mistake', async () => {
    expect(await cli(['--help'])).toMatchObject({ code: 0, err: '' });
    expect((await cli(['run', '--help'])).out).toMatch(/--data <folder>/);
  });
});
