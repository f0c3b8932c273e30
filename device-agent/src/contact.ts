/** One contact with the network outside of a running agent: enrolment at `init`, a password for `login`, an appeal. */

import { readFile } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { toBase64url } from '@fieldproof/protocol/bytes';
import { type Credential, NONCE_LIFE_MS, sealLogin } from '@fieldproof/protocol/statements';
import { AGENT_VERSION } from './agent-version.ts';
import type { Clock } from './clock.ts';
import { ClockState } from './clock-state.ts';
import type { AgentConfig } from './config.ts';
import { type DeviceIdentity, loadDeviceKey } from './device-key.ts';
import { makeFolder } from './durable-file.ts';
import { AgentError, codeOf, reasonOf } from './errors.ts';
import type { Log } from './log.ts';
import { Membership, type MqttAddress, readJoinLine } from './membership.ts';
import { loadOwnership } from './owner.ts';

export interface ContactOptions {
  readonly dataDir: string;
  readonly config: AgentConfig;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: (length: number) => Uint8Array;
}

export interface Login {
  /** Client id and user name. */
  readonly username: string;
  readonly password: string;
  readonly validMs: number;
  readonly network: string;
  readonly addresses: readonly MqttAddress[];
}

/**
 * Enrols the device, or finds it enrolled.
 *
 * @throws {AgentError} as `Membership.prepare`.
 */
export async function enrolNow(options: ContactOptions): Promise<Credential> {
  const { membership } = await openMembership(options);
  try {
    await membership.prepare();
    return membership.credential!;
  } catch (error) {
    if (codeOf(error) !== 'ERR_AGENT_IDENTITY') throw error;
    // It has taken the place of another device, and has its credential.
    return (await openMembership(options)).membership.credential!;
  }
}

/**
 * A fresh MQTT user name and password, for other MQTT clients.
 *
 * @throws {AgentError} as `Membership.prepare`.
 */
export async function freshLogin(options: ContactOptions): Promise<Login> {
  const { membership, identity } = await openMembership(options);
  const { nonce } = await membership.prepare();
  const { network, deviceId } = membership;
  const login = sealLogin({ device: deviceId, nonce }, { network, signer: identity.signer });
  return {
    username: deviceId,
    password: toBase64url(login),
    validMs: NONCE_LIFE_MS,
    network,
    addresses: membership.mqttAddresses(),
  };
}

/** The text of the file with the join line. @throws {AgentError} ERR_AGENT_NOT_INITIALISED */
export async function readJoinFile(dataDir: string, joinFile: string): Promise<string> {
  const path = isAbsolute(joinFile) ? joinFile : join(dataDir, joinFile);
  return await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new AgentError('ERR_AGENT_NOT_INITIALISED', `${path}: ${reasonOf(cause)}`, { cause });
  });
}

/** What is known of the network, loaded. @throws {AgentError} ERR_AGENT_NOT_INITIALISED, ERR_AGENT_KEY, ERR_AGENT_STATE. */
export async function openMembership(
  options: ContactOptions,
): Promise<{ readonly membership: Membership; readonly identity: DeviceIdentity }> {
  const { dataDir, config, clock, log, random } = options;
  await makeFolder(join(dataDir, 'state'));
  const identity = await loadDeviceKey(dataDir);
  const membership = new Membership({
    dataDir,
    joinLine: readJoinLine(await readJoinFile(dataDir, config.joinFile)),
    identity,
    ownership: await loadOwnership(dataDir),
    name: config.name,
    cell: config.cell,
    agent: AGENT_VERSION,
    clock,
    clockState: new ClockState({
      clock,
      ...config.clock,
      root: '/',
      onStep: () => {},
      onSynced: () => {},
    }),
    timeoutMs: config.link.timeoutMs,
    random,
    log,
  });
  await membership.load();
  return { membership, identity };
}
