/**
 * Prepares the boot partition of a Raspberry Pi OS image with cloud-init, so that the device installs the agent and joins by
 * itself. The device's key is made here, and moves off the boot partition at the first start; the owner's phrase never
 * comes near the card.
 */

import { randomBytes } from 'node:crypto';
import {
  chmod,
  copyFile,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { BUNDLE_PARTS } from './bundle-place.ts';
import { checkConfig } from './config.ts';
import { readIfPresent, replaceFile } from './durable-file.ts';
import { AgentError, reasonOf } from './errors.ts';
import {
  FIRST_BOOT_SCRIPT,
  metaData,
  networkConfig,
  USER_DATA_MARK,
  userData,
  type Wifi,
} from './flash-files.ts';
import { type InitResult, initAgent, type OwnerChoice } from './init.ts';
import { readJoinLine } from './membership.ts';

/** What the boot partition of every 64-bit Raspberry Pi OS has. */
const PI_FILES = ['config.txt', 'cmdline.txt', 'kernel8.img'];
const OUR_FOLDER = 'fieldproof';
/** The owner is the last: where one of the others does not fit, none is left whose phrase nobody has seen. */
const SECRET_FILES = ['device.key', 'join-line', 'agent.yaml', 'owner.json'];
const NODE_TARBALL = /^node-v(20\.(19|[2-9]\d)|2[1-9]|[3-9]\d)\.[\d.]+-linux-arm64\.tar\.(xz|gz)$/;
const HOSTNAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const SSH_KEY = /^(ssh-ed25519|ssh-rsa|ecdsa-sha2-\S+|sk-\S+) [A-Za-z0-9+/=]+( [^\r\n]*)?$/;

export interface FlashOptions {
  /** Where the boot partition is mounted. */
  readonly boot: string;
  readonly joinLine: string;
  readonly name: string;
  readonly owner: OwnerChoice;
  readonly bundle: string;
  readonly hostname?: string | undefined;
  readonly wifi?: Wifi | undefined;
  /** Text of a file with public keys, one a line. */
  readonly sshKeys?: string | undefined;
  readonly nodeTarball?: string | undefined;
  /** Whether what is there and is something else may be replaced. */
  readonly mayReplace: (what: string) => Promise<boolean>;
  readonly random: (length: number) => Uint8Array;
}

/** @throws {AgentError} ERR_AGENT_FLASH, ERR_AGENT_JOIN_LINE, ERR_AGENT_OWNER, ERR_AGENT_USAGE, ERR_AGENT_CONFIG. */
export async function flashBoot(options: FlashOptions): Promise<InitResult> {
  const { boot, bundle, hostname, wifi, nodeTarball } = options;
  const line = readJoinLine(options.joinLine);
  if (line.plain)
    throw usage('--join: expected a network that another machine reaches, got loopback');
  await checkConfig({ name: options.name });
  const sshKeys = checkDetails(options);
  await checkBoot(boot);
  const before = await readText(join(boot, 'user-data'));
  const isForeign = /^(?!\s*#)\s*\S/m.test(before ?? '') && !before!.startsWith(USER_DATA_MARK);
  if (isForeign) await replaceOrRefuse(options, 'user-data, which something else has filled in');
  if (wifi !== undefined) {
    const network = (await readText(join(boot, 'network-config'))) ?? '';
    const isTheirs = /^(?!\s*#)\s*\S/m.test(network) && !network.includes('fieldproof-agent flash');
    if (isTheirs)
      await replaceOrRefuse(options, 'network-config, which something else has filled in');
  }
  const folder = join(boot, OUR_FOLDER);
  let made: InitResult | undefined;
  try {
    for (const part of BUNDLE_PARTS) {
      await rm(join(folder, part), { recursive: true, force: true });
      await cp(join(bundle, part), join(folder, part), { recursive: true });
    }
    if (nodeTarball !== undefined) await copyFile(nodeTarball, join(folder, basename(nodeTarball)));
    made = await makeIdentity(options, join(folder, 'data'));
    const files: Record<string, string> = {
      [`${OUR_FOLDER}/first-boot.sh`]: FIRST_BOOT_SCRIPT,
      'meta-data': metaData(made.deviceId, hostname),
      ...(wifi && { 'network-config': networkConfig(wifi) }),
      // Last: with it the card is ready.
      'user-data': userData({ hostname, sshKeys }),
    };
    for (const [name, text] of Object.entries(files)) await replaceFile(join(boot, name), text);
    return made;
  } catch (cause) {
    // An owner whose phrase nobody has seen would own the device for ever.
    if (made?.madeOwner) await rm(join(folder, 'data'), { recursive: true, force: true });
    if (cause instanceof AgentError) throw cause;
    throw new AgentError('ERR_AGENT_FLASH', `${boot}: ${reasonOf(cause)}`, { cause });
  }
}

/** @throws {AgentError} ERR_AGENT_FLASH unless it is the boot partition of a 64-bit Raspberry Pi OS with cloud-init. */
async function checkBoot(boot: string): Promise<void> {
  const names = await readdir(boot).catch((cause: unknown) => {
    throw new AgentError('ERR_AGENT_FLASH', `${boot}: ${reasonOf(cause)}`, { cause });
  });
  const missing = PI_FILES.filter((name) => !names.includes(name));
  if (missing.length > 0) {
    const what = `the boot partition of a 64-bit Raspberry Pi OS; ${missing.join(', ')} not there`;
    throw new AgentError('ERR_AGENT_FLASH', `${boot}: expected ${what}`);
  }
  const cmdline = (await readText(join(boot, 'cmdline.txt'))) ?? '';
  const hasSeeds = names.includes('user-data') && names.includes('meta-data');
  if (hasSeeds || /(^|\s)ds=nocloud/i.test(cmdline)) return;
  const what = 'an image with cloud-init: user-data and meta-data, or ds=nocloud in cmdline.txt';
  throw new AgentError('ERR_AGENT_FLASH', `${boot}: expected ${what}`);
}

function checkDetails({ hostname, wifi, nodeTarball, sshKeys = '' }: FlashOptions): string[] {
  if (hostname !== undefined && !HOSTNAME.test(hostname)) {
    throw usage(
      `--hostname: expected letters, digits and hyphens, got ${JSON.stringify(hostname)}`,
    );
  }
  if (wifi !== undefined) {
    const length = Buffer.byteLength(wifi.ssid);
    if (length < 1 || length > 32)
      throw usage(`--wifi-ssid: expected 1 to 32 bytes, got ${length}`);
    if (!/^[A-Z]{2}$/.test(wifi.country)) throw usage('--country: expected two letters such as DE');
    if (!/^[\x20-\x7e]{8,63}$/.test(wifi.password)) {
      throw usage('--wifi-password-file: expected a password of 8 to 63 ASCII characters');
    }
  }
  if (nodeTarball !== undefined && !NODE_TARBALL.test(basename(nodeTarball))) {
    const name = 'node-v20.19.0-linux-arm64.tar.xz or newer';
    throw usage(`--node-tarball: expected ${name}, got ${basename(nodeTarball)}`);
  }
  const keys = sshKeys.split(/\r?\n/).filter((key) => key.trim() !== '' && !key.startsWith('#'));
  if (!keys.every((key) => SSH_KEY.test(key))) {
    throw usage('--ssh-key-file: expected public keys such as ssh-ed25519 AAAA…, one a line');
  }
  return keys;
}

/** What is on the card stays when it is of the same network. A FAT partition has no modes: so it is made elsewhere. */
async function makeIdentity(options: FlashOptions, onCard: string): Promise<InitResult> {
  const { joinLine, name, owner, random } = options;
  const staging = await mkdtemp(join(tmpdir(), 'fieldproof-flash-'));
  try {
    await chmod(staging, 0o700);
    const known = await readText(join(onCard, 'join-line'));
    const line = readJoinLine(joinLine);
    const before = known === undefined ? undefined : readJoinLine(known);
    const isOther =
      before !== undefined &&
      (before.network !== line.network || Buffer.compare(before.rootKey, line.rootKey) !== 0);
    if (isOther) await replaceOrRefuse(options, `the device of network ${before.network}`);
    for (const file of isOther ? [] : SECRET_FILES) {
      const bytes = await readIfPresent(join(onCard, file));
      if (bytes !== undefined) await writeFile(join(staging, file), bytes, { mode: 0o600 });
    }
    const made = await initAgent({ dataDir: staging, joinLine, name, owner, random });
    await mkdir(onCard, { recursive: true });
    for (const file of SECRET_FILES) {
      await replaceFile(join(onCard, file), await readFile(join(staging, file)));
    }
    return made;
  } finally {
    // Overwritten where it can be, then removed.
    const key = join(staging, 'device.key');
    if ((await readIfPresent(key)) !== undefined) await writeFile(key, randomBytes(65));
    await rm(staging, { recursive: true, force: true });
  }
}

async function replaceOrRefuse({ boot, mayReplace }: FlashOptions, what: string): Promise<void> {
  if (await mayReplace(what)) return;
  throw new AgentError('ERR_AGENT_FLASH', `${boot}: has ${what}; --replace replaces it`);
}

function usage(message: string): AgentError {
  return new AgentError('ERR_AGENT_USAGE', message);
}

async function readText(path: string): Promise<string | undefined> {
  const bytes = await readIfPresent(path);
  return bytes && Buffer.from(bytes).toString('utf8');
}
