import { spawnSync } from 'node:child_process';
import {
  cp,
  link,
  mkdir,
  mkdtemp,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BUNDLE_FILES } from '@fieldproof/device-agent/bundle-place';
import {
  type InstallMachine,
  type InstallOptions,
  installService,
  uninstallService,
} from '@fieldproof/device-agent/install';
import { silentLog } from '@fieldproof/device-agent/log';
import { serviceNotify } from '@fieldproof/device-agent/service-notify';
import { unitText } from '@fieldproof/device-agent/service-unit';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { describeWith, findService } from '../support/services.ts';
import { fakeClock } from './fake-clock.ts';

const UNIT = 'etc/systemd/system/fieldproof-agent.service';
const PROGRAM = 'usr/local/lib/fieldproof-agent';
/** systemd's own mark for how much a service could do, 0 to 10; "OK" ends at 4. */
const MAX_EXPOSURE = 2.5;

let root: string;
let bundle: string;
let said: string[];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'agent-install-'));
  bundle = join(root, 'bundle');
  said = [];
  await mkdir(join(bundle, 'sensors'), { recursive: true });
  await mkdir(join(root, 'etc'));
  await writeFile(join(root, 'etc/passwd'), 'fieldproof:x:999:998::/:/bin/false\n');
  for (const file of [...BUNDLE_FILES, 'sensors/system.mjs']) {
    await writeFile(join(bundle, file), file);
  }
});
afterEach(() => rm(root, { recursive: true, force: true }));

const machine = (changes: Partial<InstallMachine> = {}): InstallMachine => ({
  root,
  dryRun: false,
  isRoot: false,
  say: (line) => said.push(line),
  run: async (command) => {
    throw new Error(`${command}: not in a test`);
  },
  ...changes,
});
const options = (changes: Partial<InstallOptions> = {}): InstallOptions => ({
  user: 'fieldproof',
  dataDir: '/var/lib/fieldproof-agent',
  node: '/usr/bin/node',
  bundle,
  ...changes,
});

describe('install', () => {
  test('writes program, command, unit and a data folder for the user alone, and says each step', async () => {
    await installService(options(), machine());
    expect((await stat(join(root, PROGRAM, 'fieldproof-agent.mjs'))).mode & 0o777).toBe(0o755);
    expect((await stat(join(root, PROGRAM, 'sensors/system.mjs'))).mode & 0o777).toBe(0o644);
    expect((await stat(join(root, UNIT))).mode & 0o777).toBe(0o644);
    expect((await stat(join(root, 'var/lib/fieldproof-agent'))).mode & 0o777).toBe(0o700);
    expect(await readlink(join(root, 'usr/local/bin/fieldproof-agent'))).toBe(
      `/${PROGRAM}/fieldproof-agent.mjs`,
    );
    expect(said.join('\n')).toMatch(
      /done: program .*\ndone: service .*\ndone: command .*\ndone: f/,
    );
    expect(said.join('\n')).toMatch(/Next, once: sudo -u fieldproof fieldproof-agent init/);
  });

  (process.getuid?.() === 0 ? test : test.skip)(
    'gives the user what is in the data folder, and nothing that a link leads to [as root]',
    async () => {
      const data = join(root, 'var/lib/fieldproof-agent');
      const elsewhere = join(root, 'etc/secrets');
      await mkdir(join(data, 'state'), { recursive: true });
      await mkdir(elsewhere);
      for (const file of [join(data, 'device.key'), join(data, 'state/boot.json')]) {
        await writeFile(file, 'x');
      }
      await writeFile(join(elsewhere, 'shadow'), 'x');
      await symlink(elsewhere, join(data, 'state/link'));
      await link(join(root, 'etc/passwd'), join(data, 'state/other-name'));
      await installService(options(), machine({ isRoot: true }));
      const uidOf = async (path: string) => (await stat(path)).uid;
      expect(await uidOf(join(data, 'state/boot.json'))).toBe(999);
      expect(await uidOf(join(data, 'device.key'))).toBe(999);
      expect(await uidOf(join(elsewhere, 'shadow'))).toBe(0);
      expect(await uidOf(elsewhere)).toBe(0);
      expect(await uidOf(join(root, 'etc/passwd'))).toBe(0);
    },
  );

  test('a second time finds all as it should be; a changed driver is brought', async () => {
    await installService(options(), machine());
    const unit = await stat(join(root, UNIT));
    said = [];
    await installService(options(), machine());
    expect(said.filter((line) => line.startsWith('as it should be'))).toHaveLength(4);
    expect((await stat(join(root, UNIT))).ino).toBe(unit.ino);
    await writeFile(join(bundle, 'sensors/system.mjs'), 'newer');
    await installService(options(), machine());
    expect(await readFile(join(root, PROGRAM, 'sensors/system.mjs'), 'utf8')).toBe('newer');
  });

  test('a dry run shows everything, the unit included, and changes nothing', async () => {
    await installService(options(), machine({ dryRun: true, root: '/nowhere' }));
    const text = said.join('\n');
    expect(text).toMatch(/would do: user fieldproof\n/);
    expect(text).toMatch(/ProtectSystem=strict/);
    expect(text).toMatch(/would do: systemctl enable fieldproof-agent.service/);
    expect(text).not.toMatch(/^done/m);
  });

  test('who is not root is told so; nothing is done', async () => {
    const asUser = machine({ root: '/' });
    for (const work of [installService(options(), asUser), uninstallService(asUser)]) {
      await expect(work).rejects.toMatchObject({ code: 'ERR_AGENT_ROOT' });
    }
    expect(said).toEqual([]);
  });

  test.each([
    { user: 'root' },
    { user: 'a b' },
    { user: 'x\nExecStartPre=/bin/sh' },
    { dataDir: '/var' },
    { dataDir: '/home/pi/data' },
    { dataDir: '/root/data' },
    { dataDir: 'relative/data' },
    { dataDir: '/var/lib/../../etc' },
    { dataDir: '/var/lib/a b' },
    { dataDir: '/var/lib/%h' },
    { node: '/home/pi/.nvm/bin/node' },
  ])('%j is refused before anything is done', async (changes) => {
    await expect(installService(options(changes), machine())).rejects.toMatchObject({
      code: 'ERR_AGENT_USAGE',
    });
    expect(said).toEqual([]);
  });

  test("a folder that is somebody else's is not given away", async () => {
    await mkdir(join(root, 'var/lib/postgresql/main'), { recursive: true });
    const taken = installService(options({ dataDir: '/var/lib/postgresql' }), machine());
    await expect(taken).rejects.toMatchObject({ code: 'ERR_AGENT_USAGE' });
  });

  test('a step that fails is named, with its reason', async () => {
    await writeFile(join(root, 'usr'), '');
    await expect(installService(options(), machine())).rejects.toMatchObject({
      code: 'ERR_AGENT_INSTALL',
      message: expect.stringMatching(/^program .*(ENOTDIR|EEXIST)/),
    });
  });
});

describe('uninstall', () => {
  test('takes away what install made, keeps key and data, and is harmless twice', async () => {
    await installService(options(), machine());
    const key = join(root, 'var/lib/fieldproof-agent/device.key');
    await writeFile(key, 'key');
    await uninstallService(machine());
    for (const gone of [UNIT, PROGRAM, 'usr/local/bin/fieldproof-agent']) {
      await expect(stat(join(root, gone))).rejects.toMatchObject({ code: 'ENOENT' });
    }
    expect(await readFile(key, 'utf8')).toBe('key');
    expect(said.join('\n')).toContain('kept: /var/lib/fieldproof-agent with the key');
    await uninstallService(machine());
  });
});

describe('the watchdog', () => {
  const run = (env: Record<string, string>) => {
    const clock = fakeClock();
    const lines: string[] = [];
    const service = serviceNotify({ env, clock, log: silentLog, tell: (line) => lines.push(line) });
    return { clock, lines, service };
  };

  test('hears that the agent is ready, three times an interval that it lives, and that it stops', async () => {
    const { clock, lines, service } = run({ NOTIFY_SOCKET: '/x', WATCHDOG_USEC: '180000000' });
    expect(lines).toEqual([]);
    service.ready();
    await clock.advance(180_000);
    service.stopping();
    await clock.advance(180_000);
    expect(lines).toEqual(['READY=1', 'WATCHDOG=1', 'WATCHDOG=1', 'WATCHDOG=1', 'STOPPING=1']);
  });

  test('without systemd nothing is told to anybody', async () => {
    const { clock, lines, service } = run({});
    service.ready();
    await clock.advance(180_000);
    service.stopping();
    expect(lines).toEqual([]);
  });
});

describeWith(['systemd-analyze'], 'the unit, judged by systemd', () => {
  test('has no mistake, and leaves a service little that it could do', async () => {
    // A program that is there, so that verify has nothing else to say.
    const unit = unitText({ ...options(), node: process.execPath, program: '/bin/true' });
    const file = join(root, 'fieldproof-agent.service');
    await writeFile(file, unit);
    const analyze = (...args: string[]) =>
      spawnSync(findService('systemd-analyze')!, args, { encoding: 'utf8' });
    const verified = analyze('verify', '--man=no', file);
    const complaints = verified.stderr.split('\n').filter((line) => line.includes('fieldproof'));
    expect({ status: verified.status, complaints }).toEqual({ status: 0, complaints: [] });
    const { stdout } = analyze('security', '--offline=true', '--no-pager', file);
    const exposure = Number(/Overall exposure level[^:]*: ([\d.]+)/.exec(stdout)![1]);
    expect(exposure).toBeLessThanOrEqual(MAX_EXPOSURE);
    // The judge is awake: a word that systemd does not know is a complaint.
    await cp(file, join(root, 'wrong.service'));
    await writeFile(join(root, 'wrong.service'), unit.replace('MemoryMax=', 'MemroyMax='));
    expect(analyze('verify', '--man=no', join(root, 'wrong.service')).stderr).toMatch(/MemroyMax/);
  });
});
