/** What `doctor` sees of the machine: disk, wear of the card, what the agent writes, power. Files below `root` only. */

import type { StatsFs } from 'node:fs';
import { readdir, readFile, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { AgentConfig } from './config.ts';
import { type Finding, fail, ok, skip, warn } from './doctor.ts';
import { formatLossWindow, lossWindow } from './loss-window.ts';

const MIB = 1024 * 1024;
const DISK_WARN_BYTES = 500 * MIB;
const DISK_FAIL_BYTES = 50 * MIB;
/** Files that can still be made. */
const INODES_WARN = 10_000;
/** Before that a day's figure is a guess. */
const MIN_UPTIME_S = 3600;
const CLOCK_TICKS = 100;
/** Bits of get_throttled, as the firmware's documentation names them; those from 16 on are since the start. */
const POWER_FLAGS: readonly (readonly [number, string])[] = [
  [0, 'too little voltage now'],
  [1, 'clock capped now'],
  [2, 'throttled now'],
  [3, 'too hot now'],
  [16, 'too little voltage since the start'],
  [17, 'clock was capped since the start'],
  [18, 'was throttled since the start'],
  [19, 'was too hot since the start'],
];

/** Space and inodes where the data folder is, or will be. */
export async function checkDisk(dataDir: string): Promise<readonly Finding[]> {
  const { bavail, bsize, ffree, files } = await statfsNear(dataDir);
  const free = bavail * bsize;
  const said = `${Math.floor(free / MIB)} MiB free`;
  const remedy = 'Free space, or lower outbox.maxBytes: what does not fit is lost, and declared.';
  const space =
    free < DISK_FAIL_BYTES
      ? fail('disk-space', said, remedy)
      : free < DISK_WARN_BYTES
        ? warn('disk-space', said, remedy)
        : ok('disk-space', said);
  // Some file systems have no fixed number of them.
  if (files === 0) return [space, skip('disk-inodes', 'the file system does not count them')];
  const inodes = `${ffree} of ${files} inodes free`;
  return [
    space,
    ffree < INODES_WARN
      ? warn('disk-inodes', inodes, 'Remove folders with very many small files.')
      : ok('disk-inodes', inodes),
  ];
}

/** What eMMC says of its wear; SD cards mostly say nothing. JEDEC 84-B51, EXT_CSD 267 to 269. */
export async function checkWear(root: string): Promise<readonly Finding[]> {
  const folder = join(root, 'sys/block');
  const findings: Finding[] = [];
  for (const name of (await readdir(folder).catch(() => [])).sort()) {
    if (!/^mmcblk\d+$/.test(name)) continue;
    const life = await readText(join(folder, name, 'device/life_time'));
    const end = Number(await readText(join(folder, name, 'device/pre_eol_info')));
    const used = (life ?? '')
      .split(/\s+/)
      .map(Number)
      .filter((value) => value > 0);
    if (used.length === 0 && !(end > 0)) {
      findings.push(skip('card-wear', `${name} does not say how worn it is`));
      continue;
    }
    // 0x01 is up to 10 % used, 0x0a up to 100 %, 0x0b more.
    const percent = Math.max(0, ...used) * 10;
    const said = `${name}: up to ${percent} % of its life used`;
    const remedy =
      'Replace the card soon; copy agent.yaml, and enrol anew rather than copying keys.';
    if (end >= 3 || percent > 100) findings.push(fail('card-wear', said, remedy));
    else if (end === 2 || percent >= 80) findings.push(warn('card-wear', said, remedy));
    else findings.push(ok('card-wear', said));
  }
  return findings.length > 0 ? findings : [skip('card-wear', 'no card of this machine tells')];
}

/**
 * What the running agent writes a day: as the kernel counts it, and as the agent does, which counts the file system's
 * journal too; the larger figure.
 *
 * @param pid - the running agent.
 */
export async function checkWrites(
  root: string,
  pid: number | undefined,
  { budgetBytesPerDay, counted }: { readonly budgetBytesPerDay: number; readonly counted?: number },
): Promise<readonly Finding[]> {
  if (pid === undefined) return [skip('card-writes', 'no agent is running')];
  const proc = join(root, 'proc');
  const io = await readText(join(proc, `${pid}/io`));
  const stat = await readText(join(proc, `${pid}/stat`));
  const uptime = Number((await readText(join(proc, 'uptime')))?.split(' ')[0]);
  const written = Number(/^write_bytes: (\d+)$/m.exec(io ?? '')?.[1]);
  // Field 22; the name in field 2 may have spaces.
  const started = Number(stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19]) / CLOCK_TICKS;
  const seconds = uptime - started;
  if (!Number.isFinite(written) || !Number.isFinite(seconds)) {
    return [skip('card-writes', `process ${pid} belongs to another user; ask as that one`)];
  }
  if (seconds < MIN_UPTIME_S) return [skip('card-writes', 'the agent runs for less than an hour')];
  const daily = Math.max((written / seconds) * 86_400, counted ?? 0);
  const said = `${(daily / 1e6).toFixed(1)} MB a day of ${budgetBytesPerDay / 1e6} MB`;
  const remedy =
    'Set memoryFolder to a tmpfs (the installed service has one), or lengthen batch.sealEveryMs.';
  return [daily > budgetBytesPerDay ? warn('card-writes', said, remedy) : ok('card-writes', said)];
}

/** What a power cut can cost, which the owner should know before it happens. */
export function checkLossWindow(
  config: AgentConfig | undefined,
  hasFront: boolean,
): readonly Finding[] {
  if (config === undefined) return [skip('may-be-lost', 'without a configuration')];
  return [ok('may-be-lost', formatLossWindow(lossWindow(config, hasFront)))];
}

/** What the firmware of a Raspberry Pi noticed. */
export async function checkPower(root: string): Promise<readonly Finding[]> {
  const path = 'sys/devices/platform/soc/soc:firmware/get_throttled';
  const text = await readText(join(root, path));
  if (text === undefined) return [skip('power', 'this machine does not tell')];
  const bits = Number.parseInt(text.replace(/^0x/, ''), 16);
  if (!Number.isInteger(bits)) return [skip('power', `cannot read ${JSON.stringify(text)}`)];
  const seen = POWER_FLAGS.filter(([bit]) => ((bits >>> bit) & 1) === 1).map(([, what]) => what);
  if (seen.length === 0) return [ok('power', 'voltage, clock and temperature as they should be')];
  const remedy = 'Use the original power supply and a short cable; give it air.';
  return [
    (bits & 0xf) !== 0
      ? fail('power', seen.join(', '), remedy)
      : warn('power', seen.join(', '), remedy),
  ];
}

/** Of the folder, or of the nearest one above it that is there. */
async function statfsNear(path: string): Promise<StatsFs> {
  for (let at = path; ; at = dirname(at)) {
    try {
      return await statfs(at);
    } catch (error) {
      if (dirname(at) === at) throw error;
    }
  }
}

async function readText(path: string): Promise<string | undefined> {
  return await readFile(path, 'utf8').then(
    (text) => text.trim(),
    () => undefined,
  );
}
