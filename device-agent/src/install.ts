/**
 * Makes the agent a service of this machine, and takes it away again, step by step. Each step looks first whether it has
 * been done: running it twice changes nothing. The data folder, which holds the device's key, is never removed.
 */

import { randomBytes } from 'node:crypto';
import {
  chmod,
  constants,
  cp,
  lchown,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  symlink,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BUNDLE_FILE, BUNDLE_FILES, BUNDLE_PARTS } from './bundle-place.ts';
import { readIfPresent, replaceFile } from './durable-file.ts';
import { AgentError, reasonOf } from './errors.ts';
import { UNIT_NAME, unitText } from './service-unit.ts';

const PROGRAM_FOLDER = '/usr/local/lib/fieldproof-agent';
const COMMAND = '/usr/local/bin/fieldproof-agent';
const UNIT_FILE = `/etc/systemd/system/${UNIT_NAME}`;
const SYSTEMD_RUNS = '/run/systemd/system';
/** Groups that may read serial lines, I2C and pins, where the system has them. */
const SENSOR_GROUPS = ['dialout', 'i2c', 'gpio'];
const USER_NAME = /^[a-z_][a-z0-9_-]{0,30}$/;
/** No character that systemd expands or splits at. */
const PLAIN_PATH = /^(\/[A-Za-z0-9._@+-]+){2,}$/;
const HOMES = /^\/(home|root|run\/user)\//;
/** What a data folder has; another folder is not given to the agent's user. */
const DATA_FILES = ['device.key', 'join-line', 'agent.yaml', 'state'];

/** What a step needs of the machine. */
export interface InstallMachine {
  /** `/`, or a folder that stands for it; in a folder no command is run. */
  readonly root: string;
  readonly dryRun: boolean;
  readonly isRoot: boolean;
  readonly say: (line: string) => void;
  /** Runs a command. @throws when it fails. */
  readonly run: (command: string, args: readonly string[]) => Promise<void>;
}

export interface InstallOptions {
  readonly user: string;
  readonly dataDir: string;
  /** Absolute path of Node. */
  readonly node: string;
  /** Folder with the bundle. */
  readonly bundle: string;
}

/** @throws {AgentError} ERR_AGENT_ROOT, ERR_AGENT_USAGE, ERR_AGENT_INSTALL. */
export async function installService(
  options: InstallOptions,
  machine: InstallMachine,
): Promise<void> {
  checkOptions(options);
  checkRoot(machine);
  const { user, dataDir } = options;
  await checkDataFolder(at(machine, dataDir));
  await step(machine, `user ${user}`, {
    isDone: async () => (await findUser(machine, user)) !== undefined,
    act: () => makeUser(machine, options),
  });
  const changed = [
    await step(machine, `program ${PROGRAM_FOLDER}`, {
      isDone: () => isSameTree(options.bundle, at(machine, PROGRAM_FOLDER)),
      act: () => copyProgram(options.bundle, at(machine, PROGRAM_FOLDER)),
    }),
    await step(machine, `service ${UNIT_FILE}`, {
      isDone: async () => (await readText(at(machine, UNIT_FILE))) === unitOf(options),
      act: async () => {
        await mkdir(dirname(at(machine, UNIT_FILE)), { recursive: true });
        await replaceFile(at(machine, UNIT_FILE), unitOf(options), { mode: 0o644 });
        await chmod(at(machine, UNIT_FILE), 0o644);
      },
      text: unitOf(options),
    }),
  ].includes(true);
  const target = join(PROGRAM_FOLDER, BUNDLE_FILE);
  await step(machine, `command ${COMMAND}`, {
    isDone: async () => (await readlink(at(machine, COMMAND)).catch(() => '')) === target,
    act: async () => {
      await mkdir(dirname(at(machine, COMMAND)), { recursive: true });
      await rm(at(machine, COMMAND), { force: true });
      await symlink(target, at(machine, COMMAND));
    },
  });
  await step(machine, `folder ${dataDir}, for ${user} alone`, {
    isDone: async () => false,
    act: () => giveDataFolder(machine, options),
  });
  await startService(machine, options, changed);
}

/** @throws {AgentError} ERR_AGENT_ROOT, ERR_AGENT_INSTALL. */
export async function uninstallService(machine: InstallMachine): Promise<void> {
  checkRoot(machine);
  const unit = await readText(at(machine, UNIT_FILE));
  const dataDir = /^ReadWritePaths=(.+)$/m.exec(unit ?? '')?.[1];
  const user = /^User=(.+)$/m.exec(unit ?? '')?.[1];
  if (unit !== undefined) await systemctl(machine, ['disable', '--now', UNIT_NAME]);
  for (const path of [UNIT_FILE, COMMAND, PROGRAM_FOLDER]) {
    await step(machine, `remove ${path}`, {
      isDone: async () => (await lstat(at(machine, path)).catch(() => undefined)) === undefined,
      act: () => rm(at(machine, path), { recursive: true, force: true }),
    });
  }
  if (unit === undefined) return;
  await systemctl(machine, ['daemon-reload']);
  machine.say(`kept: ${dataDir} with the key of the device, and the user ${user}.`);
  machine.say(`To remove these too, for ever: rm -r ${dataDir} && userdel ${user}`);
}

function checkOptions({ user, dataDir, node }: InstallOptions): void {
  const refuse = (message: string): never => {
    throw new AgentError('ERR_AGENT_USAGE', message);
  };
  if (!USER_NAME.test(user) || user === 'root') {
    refuse(`--user: expected the name of a user other than root, got ${JSON.stringify(user)}`);
  }
  if (!PLAIN_PATH.test(dataDir) || dataDir.split('/').some((part) => /^\.+$/.test(part))) {
    refuse(`--data: expected a path such as /var/lib/fieldproof-agent, got ${dataDir}`);
  }
  if (HOMES.test(`${dataDir}/`)) {
    refuse(`--data: the service sees no home folder; expected another place than ${dataDir}`);
  }
  if (!PLAIN_PATH.test(node) || HOMES.test(node)) {
    refuse(`node: expected one that is installed for the whole machine, got ${node}`);
  }
}

function checkRoot({ isRoot, dryRun, root }: InstallMachine): void {
  if (isRoot || dryRun || root !== '/') return;
  throw new AgentError('ERR_AGENT_ROOT', 'a service of the machine: expected to be root');
}

/** A folder that is somebody else's must not be given away. */
async function checkDataFolder(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  const names = found.isDirectory() ? await readdir(path) : undefined;
  if (names?.length === 0 || names?.some((name) => DATA_FILES.includes(name))) return;
  throw new AgentError(
    'ERR_AGENT_USAGE',
    `--data: ${path} is there and is no data folder of an agent; name another one`,
  );
}

/** @returns whether something was changed, or would be. */
async function step(
  machine: InstallMachine,
  what: string,
  how: {
    readonly isDone: () => Promise<boolean>;
    readonly act: () => Promise<void>;
    /** What a dry run shows. */
    readonly text?: string;
  },
): Promise<boolean> {
  const { dryRun, say } = machine;
  if (await how.isDone()) {
    say(`as it should be: ${what}`);
    return false;
  }
  if (dryRun) {
    say(`would do: ${what}`);
    if (how.text !== undefined) say(how.text.replace(/^/gm, '    ').trimEnd());
    return true;
  }
  try {
    await how.act();
  } catch (cause) {
    if (cause instanceof AgentError) throw cause;
    throw new AgentError('ERR_AGENT_INSTALL', `${what}: ${reasonOf(cause)}`, { cause });
  }
  say(`done: ${what}`);
  return true;
}

async function makeUser(machine: InstallMachine, { user, dataDir }: InstallOptions): Promise<void> {
  if (machine.root !== '/') return;
  const groups = (await readText('/etc/group')) ?? '';
  const sensors = SENSOR_GROUPS.filter((name) => groups.match(`(^|\\n)${name}:`));
  await machine.run('useradd', [
    ...['--system', '--user-group', '--no-create-home', '--home-dir', dataDir],
    ...['--shell', '/usr/sbin/nologin'],
    ...(sensors.length > 0 ? ['--groups', sensors.join(',')] : []),
    user,
  ]);
}

async function findUser(
  machine: InstallMachine,
  user: string,
): Promise<{ readonly uid: number; readonly gid: number } | undefined> {
  const passwd = (await readText(at(machine, '/etc/passwd'))) ?? '';
  const fields = passwd
    .split('\n')
    .map((line) => line.split(':'))
    .find(([name]) => name === user);
  return fields && { uid: Number(fields[2]), gid: Number(fields[3]) };
}

/** Beside the old one first, and durable: a power cut leaves the one or the other, or none, and `install` makes it whole. */
async function copyProgram(from: string, to: string): Promise<void> {
  const fresh = `${to}.${randomBytes(4).toString('hex')}.tmp`;
  await mkdir(fresh, { recursive: true, mode: 0o755 });
  for (const name of BUNDLE_PARTS) {
    await cp(join(from, name), join(fresh, name), { recursive: true });
  }
  for (const name of await readdir(fresh, { recursive: true })) {
    const path = join(fresh, name);
    const isFolder = (await lstat(path)).isDirectory();
    await chmod(path, name === BUNDLE_FILE || isFolder ? 0o755 : 0o644);
    await syncPath(path);
  }
  await chmod(fresh, 0o755);
  await syncPath(fresh);
  await rm(to, { recursive: true, force: true });
  await rename(fresh, to);
  await syncPath(dirname(to));
}

/** Makes a file, or which names are in a folder, durable. */
async function syncPath(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

async function isSameTree(from: string, to: string): Promise<boolean> {
  for (const name of BUNDLE_FILES) {
    const [a, b] = [await readText(join(from, name)), await readText(join(to, name))];
    if (a !== b) return false;
  }
  const list = (folder: string): Promise<string[]> =>
    readdir(join(folder, 'sensors')).catch(() => []);
  const [wanted, there] = [(await list(from)).sort(), (await list(to)).sort()];
  if (wanted.join() !== there.join()) return false;
  for (const name of wanted) {
    const [a, b] = [join(from, 'sensors', name), join(to, 'sensors', name)];
    if ((await readText(a)) !== (await readText(b))) return false;
  }
  return true;
}

/** Also what somebody made in it as root, by `init`: links are not followed. */
async function giveDataFolder(
  machine: InstallMachine,
  { user, dataDir }: InstallOptions,
): Promise<void> {
  const folder = at(machine, dataDir);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await chmod(folder, 0o700);
  const owner = machine.isRoot ? await findUser(machine, user) : undefined;
  if (owner === undefined) return;
  await giveTree(folder, owner);
}

/**
 * The user of the agent writes in this folder, also now: behind a link, or a folder that it puts a link in place of
 * meanwhile, all of /etc would be given to it. So each folder is held open without following a link, and its names are looked
 * up in what is held. A file that has another name elsewhere is not given either.
 */
async function giveTree(
  folder: string,
  owner: { readonly uid: number; readonly gid: number },
): Promise<void> {
  const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;
  const held = await open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    await held.chown(owner.uid, owner.gid);
    const here = `/proc/self/fd/${held.fd}`;
    for (const name of await readdir(here)) {
      const path = join(here, name);
      const found = await lstat(path);
      if (found.isDirectory()) await giveTree(path, owner);
      else if (found.nlink === 1) await lchown(path, owner.uid, owner.gid);
    }
  } finally {
    await held.close();
  }
}

async function startService(
  machine: InstallMachine,
  { dataDir, user }: InstallOptions,
  changed: boolean,
): Promise<void> {
  await systemctl(machine, ['daemon-reload']);
  await systemctl(machine, ['enable', UNIT_NAME]);
  const isMember = (await readIfPresent(join(at(machine, dataDir), 'device.key'))) !== undefined;
  if (!isMember) {
    machine.say(
      `Next, once: sudo -u ${user} fieldproof-agent init --data ${dataDir} --join 'LINE'`,
    );
    machine.say(`Then: sudo systemctl start ${UNIT_NAME}`);
    return;
  }
  await systemctl(machine, [changed ? 'restart' : 'start', UNIT_NAME]);
  machine.say(`Its log: journalctl -u ${UNIT_NAME} -f`);
}

async function systemctl(machine: InstallMachine, args: readonly string[]): Promise<void> {
  const line = `systemctl ${args.join(' ')}`;
  if (machine.dryRun) {
    machine.say(`would do: ${line}`);
    return;
  }
  const isRunning = await lstat(at(machine, SYSTEMD_RUNS)).catch(() => undefined);
  if (machine.root !== '/' || isRunning === undefined) {
    machine.say(`left out, systemd does not run here: ${line}`);
    return;
  }
  await machine.run('systemctl', args).catch((cause: unknown) => {
    throw new AgentError('ERR_AGENT_INSTALL', `${line}: ${reasonOf(cause)}`, { cause });
  });
  machine.say(`done: ${line}`);
}

function unitOf({ user, dataDir, node }: InstallOptions): string {
  return unitText({ user, dataDir, node, program: join(PROGRAM_FOLDER, BUNDLE_FILE) });
}

function at({ root }: InstallMachine, path: string): string {
  return join(root, path);
}

async function readText(path: string): Promise<string | undefined> {
  return await readFile(path, 'utf8').catch(() => undefined);
}
