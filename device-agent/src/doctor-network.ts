/**
 * What `doctor` sees of the network: name, connection, certificate, the server's time against ours, and how long descriptor
 * and credential hold. It asks for no more than a hello, works on copies of what the agent keeps, and enrols nothing.
 */

import { lookup } from 'node:dns/promises';
import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { isIP } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed } from '@fieldproof/protocol/ed25519-node';
import { parseEnvelope } from '@fieldproof/protocol/envelope';
import type { JoinLine } from '@fieldproof/protocol/join-line';
import { decodeDescriptor } from '@fieldproof/protocol/statements';
import { AGENT_VERSION } from './agent-version.ts';
import { systemClock } from './clock.ts';
import { ClockState } from './clock-state.ts';
import type { AgentConfig } from './config.ts';
import { readJoinFile } from './contact.ts';
import { loadDeviceKey } from './device-key.ts';
import { dial } from './dial.ts';
import { type Finding, fail, ok, skip, warn } from './doctor.ts';
import { failFor } from './doctor-agent.ts';
import { readIfPresent } from './durable-file.ts';
import { AGENT_ERRORS, reasonOf } from './errors.ts';
import { silentLog } from './log.ts';
import { Membership, readJoinLine } from './membership.ts';
import { gatewayHello, loadVia, type Via } from './via.ts';

const TIMEOUT_MS = 5000;
/** Before this the clock was never set: the software is younger. */
const EARLIEST_MS = Date.UTC(2026, 0, 1);
const DAY_MS = 86_400_000;
/** A credential renews itself at two thirds of its life; one that is so near its end did not. */
const CREDENTIAL_WARN_MS = 3 * DAY_MS;
const CLOCK_REMEDY =
  'Enable time synchronisation: timedatectl set-ntp true. Until then times are relative to the sealing.';
const WAIT =
  'Nothing, when the gateway is known to be without a network: it keeps what this device hands in. Else look at doctor on the gateway.';

export interface NetworkOptions {
  readonly dataDir: string;
  readonly config: AgentConfig | undefined;
  /** Root of the file system, `/` but in tests. */
  readonly root: string;
  readonly random: (length: number) => Uint8Array;
}

/** The findings of network, clock and credential, in the order in which each needs the one before. */
export async function checkNetwork(options: NetworkOptions): Promise<readonly Finding[]> {
  const { dataDir, config } = options;
  let line: JoinLine;
  try {
    line = readJoinLine(await readJoinFile(dataDir, config?.joinFile ?? 'join-line'));
  } catch (error) {
    return [failFor('join-line', error), ...(await checkClock(undefined, options))];
  }
  let via: Via | undefined;
  try {
    via = await loadVia(dataDir);
  } catch (error) {
    return [failFor('gateway', error), ...(await checkClock(undefined, options))];
  }
  if (via !== undefined && via.gateway !== null) {
    return await checkLeaf(line, { ...via, gateway: via.gateway }, options);
  }
  const findings = [...(await checkReach(line))];
  const membership = findings.every(({ state }) => state === 'ok') ? 'ask' : 'keep';
  return [...findings, ...(await withMembership(line, options, { how: membership }))];
}

/** A leaf needs its gateway, and the network through it now and then: what of that is there. */
async function checkLeaf(
  line: JoinLine,
  via: Via & { readonly gateway: string },
  options: NetworkOptions,
): Promise<readonly Finding[]> {
  const { gateway, host, port } = via;
  const findings: Finding[] = [];
  try {
    // A gateway's key after its first is in a credential, which the registry has signed.
    const kept = await readIfPresent(join(options.dataDir, 'state', 'descriptor.cose'));
    const registryKey = kept && decodeDescriptor(parseEnvelope(kept).payload).keys.registry;
    await gatewayHello(via, {
      ...{ network: line.network, registryKey, random: options.random },
      ...{ timeoutMs: TIMEOUT_MS, clock: systemClock },
    });
    findings.push(ok('gateway', `${gateway} answers at ${host}:${port}`));
  } catch (error) {
    findings.push(failFor('gateway', error));
  }
  const how = findings.every(({ state }) => state === 'ok') ? 'ask' : 'keep';
  return [...findings, ...(await withMembership(line, options, { how, through: via }))];
}

async function checkReach({ host, port }: JoinLine): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  if (isIP(host) === 0) {
    try {
      const addresses = await lookup(host, { all: true });
      findings.push(ok('dns', `${host} is ${addresses.map(({ address }) => address).join(', ')}`));
    } catch (error) {
      return [failFor('dns', error)];
    }
  }
  try {
    const socket = await dial({
      host,
      port,
      tls: false,
      timeoutMs: TIMEOUT_MS,
      clock: systemClock,
    });
    socket.destroy();
    return [...findings, ok('tcp', `${host}:${port} answers`)];
  } catch (error) {
    return [...findings, failFor('tcp', error)];
  }
}

/**
 * @param how.how - `keep` looks only at what is on disk.
 * @param how.through - of a leaf: its gateway. Without a network it holds what the leaf hands in, which is no fault.
 */
async function withMembership(
  joinLine: JoinLine,
  options: NetworkOptions,
  { how, through }: { readonly how: 'ask' | 'keep'; readonly through?: Via },
): Promise<readonly Finding[]> {
  const { dataDir, config, random } = options;
  const copy = await mkdtemp(join(tmpdir(), 'fieldproof-doctor-'));
  try {
    await mkdir(join(copy, 'state'));
    for (const name of ['descriptor.cose', 'credential.cose']) {
      await copyFile(join(dataDir, 'state', name), join(copy, 'state', name)).catch(() => {});
    }
    const signer = signerFromSeed(random(32));
    const id = deviceIdFromPublicKey(signer.publicKey);
    const stranger = { signer, deviceId: id, keyId: id, firstBoot: 0, tookPlace: false };
    const clockState = clockOf(options);
    const membership = new Membership({
      ...{ dataDir: copy, joinLine, clock: systemClock, clockState, random, log: silentLog },
      ...{ ownership: undefined, name: 'doctor', cell: undefined, agent: AGENT_VERSION },
      identity: await loadDeviceKey(dataDir).catch(() => stranger),
      ...(through !== undefined && { through }),
      timeoutMs: Math.min(config?.link.timeoutMs ?? TIMEOUT_MS, TIMEOUT_MS),
    });
    await membership.load();
    const findings: Finding[] = [];
    let serverMs: number | undefined;
    if (how === 'ask') {
      const what = joinLine.plain || through !== undefined ? 'hello' : 'tls';
      try {
        serverMs = (await membership.hello()).time;
        const by = through === undefined ? '' : ', passed on by the gateway';
        findings.push(ok(what, `network ${joinLine.network}, signed by its own key${by}`));
      } catch (error) {
        if (through === undefined) findings.push(failFor(what, error));
        else findings.push(warn(what, `not through the gateway now: ${reasonOf(error)}`, WAIT));
      }
    }
    findings.push(...(await checkClock(serverMs, options)));
    findings.push(...checkEnds(membership, serverMs ?? Date.now()));
    return findings;
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

async function checkClock(
  serverMs: number | undefined,
  options: NetworkOptions,
): Promise<readonly Finding[]> {
  const nowMs = Date.now();
  const said = new Date(nowMs).toISOString();
  if (serverMs !== undefined) {
    const offMs = Math.round(Math.abs(serverMs - nowMs));
    const limitMs = options.config?.clock.maxErrorMs ?? 2000;
    const found = `${said}, ${offMs} ms beside the network's`;
    return [offMs > limitMs ? fail('clock', found, CLOCK_REMEDY) : ok('clock', found)];
  }
  if (nowMs < EARLIEST_MS) return [fail('clock', `${said}, which is long past`, CLOCK_REMEDY)];
  const state = clockOf(options);
  await state.checkTimesyncd();
  const { synced, boundMs } = state.status();
  if (synced) return [ok('clock', `${said}, synchronised within ${boundMs} ms`)];
  return [warn('clock', `${said}, confirmed by nobody`, CLOCK_REMEDY)];
}

/** Descriptor and credential. */
function checkEnds({ descriptor, credential }: Membership, nowMs: number): readonly Finding[] {
  if (descriptor === undefined) {
    return [skip('descriptor', 'none is known yet'), skip('credential', 'not enrolled yet')];
  }
  const day = (ms: number) => new Date(ms).toISOString().slice(0, 10);
  const until = `version ${descriptor.version}, until ${day(descriptor.expires)}`;
  const findings = [
    descriptor.expires < nowMs
      ? fail('descriptor', until, AGENT_ERRORS.ERR_AGENT_DESCRIPTOR.remedy)
      : ok('descriptor', until),
  ];
  if (credential === undefined) return [...findings, skip('credential', 'not enrolled yet')];
  const found = `until ${day(credential.expires)}`;
  const remedy = 'It renews itself while the agent runs and reaches the network: see status.';
  if (credential.expires < nowMs) findings.push(fail('credential', found, remedy));
  else if (credential.expires - nowMs < CREDENTIAL_WARN_MS) {
    findings.push(warn('credential', found, remedy));
  } else findings.push(ok('credential', found));
  return findings;
}

function clockOf({ config, root }: NetworkOptions): ClockState {
  const settings = config?.clock ?? { maxErrorMs: 2000, trustTimesyncd: true };
  const quiet = { onStep: () => {}, onSynced: () => {} };
  return new ClockState({ clock: systemClock, ...settings, root, ...quiet });
}
