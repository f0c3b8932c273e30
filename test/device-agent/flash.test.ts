import { execFileSync, spawnSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BUNDLE_FILES } from '@fieldproof/device-agent/bundle-place';
import { signerFromSeed } from '@fieldproof/protocol/ed25519-node';
import { formatJoinLine } from '@fieldproof/protocol/join-line';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { agentCli } from '../support/agent-cli.ts';
import { describeWith, findService } from '../support/services.ts';

let folder: string;
let boot: string;
let bundle: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'agent-flash-'));
  boot = join(folder, 'bootfs');
  bundle = join(folder, 'bundle');
  await mkdir(boot);
  await mkdir(join(bundle, 'sensors'), { recursive: true });
  for (const file of [...BUNDLE_FILES, 'sensors/system.mjs']) {
    await writeFile(join(bundle, file), file);
  }
  for (const file of ['config.txt', 'kernel8.img', 'meta-data'])
    await writeFile(join(boot, file), '');
  await writeFile(join(boot, 'cmdline.txt'), 'console=tty1 root=PARTUUID=1-02 rootwait\n');
  await writeFile(join(boot, 'user-data'), '#cloud-config\n# hostname: raspberrypi\n');
  await writeFile(join(folder, 'wifi'), 'correct horse: "battery"\n');
  await writeFile(join(folder, 'keys'), 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA me@home\n');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const line = (network = 'testnet1') =>
  formatJoinLine({
    ...{ host: 'fieldproof.example', port: 8443, plain: false, network },
    rootKey: signerFromSeed(new Uint8Array(32).fill(1)).publicKey,
    token: new Uint8Array(16).fill(7),
  });

async function flash(...more: string[]) {
  const args = more.includes('--join') ? more : ['--join', line(), ...more];
  return await agentCli(['flash', '--boot', boot, '--bundle', bundle, ...args]);
}

const wifi = () => [
  ...['--wifi-ssid', 'Net: "1"', '--wifi-password-file', join(folder, 'wifi'), '--country', 'DE'],
];
const text = (file: string) => readFile(join(boot, file), 'utf8');

describe('flash', () => {
  test('puts agent, identity and cloud-init files onto the card; the phrase is shown and not on it', async () => {
    const keys = ['--ssh-key-file', join(folder, 'keys'), '--hostname', 'balcony'];
    const { code, out, err } = await flash('--name', 'balcony', ...wifi(), ...keys);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const device = /device +(z6Mk\w+)/.exec(out)![1]!;
    const phrase = /\n {4}((?:[a-z]+ ){11}[a-z]+)\n/.exec(out)![1]!;
    const files = await readdir(boot, { recursive: true, withFileTypes: true });
    for (const entry of files.filter((each) => each.isFile())) {
      const content = await readFile(join(entry.parentPath, entry.name), 'utf8');
      expect(content.includes(phrase) || content.includes('correct horse')).toBe(false);
    }
    expect(await text('fieldproof/sensors/system.mjs')).toBe('sensors/system.mjs');
    expect(await text('fieldproof/data/join-line')).toBe(`${line()}\n`);
    expect(await text('user-data')).toMatch(/^#cloud-config\n/);
    expect(await text('user-data')).not.toContain('token=');
    expect(parse(await text('user-data'))).toMatchObject({
      hostname: 'balcony',
      ssh_pwauth: false,
    });
    expect(parse(await text('meta-data'))).toMatchObject({
      'instance-id': `fieldproof-${device.slice(-16)}`,
    });
    const { network } = parse(await text('network-config')) as {
      network: { wifis: { wlan0: { 'access-points': Record<string, { password: string }> } } };
    };
    expect(network.wifis.wlan0['access-points']['Net: "1"']!.password).toMatch(/^[0-9a-f]{64}$/);
  });

  test('a second time the device stays the same; another network is asked about', async () => {
    const first = await flash();
    const key = await text('fieldproof/data/device.key');
    const second = await flash();
    expect(second).toMatchObject({ code: 0 });
    expect(second.out).toMatch(/device +\S+ \(was here already\)/);
    expect(second.out).not.toContain('recovery phrase');
    expect(await text('fieldproof/data/device.key')).toBe(key);
    const other = await flash('--join', line('testnet2'));
    expect(other).toMatchObject({ code: 73, out: '' });
    expect(other.err).toMatch(/ERR_AGENT_FLASH: .*network testnet1; --replace replaces it/);
    expect(await text('fieldproof/data/device.key')).toBe(key);
    expect(await flash('--replace', '--join', line('testnet2'))).toMatchObject({ code: 0 });
    expect(await text('fieldproof/data/device.key')).not.toBe(key);
    expect(first.code).toBe(0);
  });

  test('what Raspberry Pi Imager has filled in is not overwritten unasked', async () => {
    await writeFile(join(boot, 'user-data'), '#cloud-config\nhostname: mine\n');
    expect(await flash()).toMatchObject({ code: 73 });
    expect(await text('user-data')).toContain('mine');
    expect(await readdir(boot)).not.toContain('fieldproof');
  });

  test.each(['config.txt', 'cmdline.txt', 'kernel8.img', 'user-data', 'meta-data'])(
    'a folder without %s is refused, and says what is expected',
    async (name) => {
      await rm(join(boot, name));
      const { code, err } = await flash();
      expect(code).toBe(73);
      expect(err).toMatch(/expected (the boot partition of a 64-bit|an image with cloud-init)/);
      expect(await readdir(boot)).not.toContain('fieldproof');
    },
  );

  test('cloud-init that is named in cmdline.txt will do', async () => {
    for (const name of ['user-data', 'meta-data']) await rm(join(boot, name));
    await writeFile(join(boot, 'cmdline.txt'), 'rootwait ds=nocloud;i=rpi\n');
    expect(await flash()).toMatchObject({ code: 0 });
  });

  test.each([
    ['--wifi-ssid', 'x'],
    ['--hostname', 'a b'],
    ['--hostname', '$(reboot)'],
    ['--node-tarball', '/x/node-v18.0.0-linux-arm64.tar.xz'],
    ['--node-tarball', '/x/node-v20.19.5-linux-x64.tar.xz'],
    ['--ssh-key-file', '/nowhere'],
  ])('%s %s is refused before anything is written', async (flag, value) => {
    expect(await flash(flag, value)).toMatchObject({ code: 64, out: '' });
    expect(await readdir(boot)).not.toContain('fieldproof');
  });

  test('the first start moves the secrets off the boot partition, with their modes, and may break off', async () => {
    await flash();
    const data = join(folder, 'data');
    const bin = join(folder, 'bin');
    await mkdir(bin);
    // Stands for Node: of the right version, and an agent that cannot be installed at first.
    const node = (exit: number) =>
      `#!/bin/sh\n[ "$1" = -e ] && exit 0\necho "$@" >> ${folder}/calls\nexit ${exit}\n`;
    const run = async (exit: number) => {
      await writeFile(join(bin, 'node'), node(exit));
      await chmod(join(bin, 'node'), 0o755);
      const env = { PATH: `${bin}:/usr/bin:/bin`, FIELDPROOF_DATA: data };
      return spawnSync('sh', [join(boot, 'fieldproof/first-boot.sh')], {
        env: { ...env, FIELDPROOF_BOOT: join(boot, 'fieldproof') },
        encoding: 'utf8',
      }).status;
    };
    const key = await text('fieldproof/data/device.key');
    expect(await run(1)).not.toBe(0);
    expect(await readdir(join(boot, 'fieldproof'))).toContain('data');
    expect(await run(0)).toBe(0);
    expect(await readdir(join(boot, 'fieldproof'))).not.toContain('data');
    expect(await readFile(join(data, 'device.key'), 'utf8')).toBe(key);
    for (const name of ['device.key', 'join-line', 'owner.json', 'agent.yaml']) {
      expect((await stat(join(data, name))).mode & 0o777).toBe(0o600);
    }
    expect(await readFile(join(folder, 'calls'), 'utf8')).toMatch(/mjs install --data/);
  });
});

describeWith(['cloud-init'], 'the files, judged by cloud-init', () => {
  test('are as its schema wants them', async () => {
    await flash(...wifi(), '--ssh-key-file', join(folder, 'keys'), '--hostname', 'balcony');
    const schema = ['schema', '--config-file', join(boot, 'user-data')];
    expect(execFileSync(findService('cloud-init')!, schema, { encoding: 'utf8' })).toMatch(/Valid/);
    // The judge is awake.
    const wrong = join(folder, 'wrong');
    await writeFile(wrong, (await text('user-data')).replace('"runcmd": [', '"runcmd": [5,'));
    const judged = spawnSync(findService('cloud-init')!, ['schema', '--config-file', wrong]);
    expect(judged.status).not.toBe(0);
  });
});
