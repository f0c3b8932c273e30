/**
 * Makes a data folder ready to run: device key, join line, ownership, agent.yaml. Running it again says what
 * is there and overwrites no key.
 */

import { join } from 'node:path';
import { fromBase64url } from '@fieldproof/protocol/bytes';
import { publicKeyFromDidKey } from '@fieldproof/protocol/did-key';
import { formatJoinLine } from '@fieldproof/protocol/join-line';
import { createDeviceKey, loadDeviceKey } from './device-key.ts';
import { makeFolder, readIfPresent, replaceFile } from './durable-file.ts';
import { AgentError, reasonOf } from './errors.ts';
import { SYSTEM_SENSOR } from './find-sensors.ts';
import { type Ownership, readJoinLine } from './membership.ts';
import { loadOwnership, newPhrase, ownershipFromPhrase, saveOwnership } from './owner.ts';
import { proposeConfig } from './proposed-config.ts';

const JOIN_FILE = 'join-line';

/** Whose the device shall be. */
export type OwnerChoice =
  | { readonly type: 'new' }
  | { readonly type: 'phrase'; readonly phrase: string }
  /** Signed elsewhere: did:key and the base64url text of the ownership statement. */
  | { readonly type: 'signed'; readonly owner: string; readonly statement: string };

export interface InitOptions {
  readonly dataDir: string;
  readonly joinLine: string;
  readonly name: string;
  readonly owner: OwnerChoice;
  readonly cell?: string | undefined;
  /** Gives that many random bytes. */
  readonly random: (length: number) => Uint8Array;
  /** Text of agent.yaml; default: this machine's own sensors. */
  readonly configYaml?: string;
}

export interface InitResult {
  readonly deviceId: string;
  readonly network: string;
  readonly owner: string;
  /** The new owner's words: show them once. Undefined unless a new owner was made now. */
  readonly phrase: string | undefined;
  readonly madeKey: boolean;
  readonly madeOwner: boolean;
  readonly madeConfig: boolean;
}

/**
 * @throws {AgentError} ERR_AGENT_JOIN_LINE, ERR_AGENT_OWNER, ERR_AGENT_KEY; ERR_AGENT_STATE when the folder
 * belongs to another network or another owner.
 */
export async function initAgent(options: InitOptions): Promise<InitResult> {
  const { dataDir, random } = options;
  const line = readJoinLine(options.joinLine);
  await makeFolder(dataDir).catch((cause: unknown) => {
    throw new AgentError('ERR_AGENT_STATE', `${dataDir}: ${reasonOf(cause)}`, { cause });
  });
  const joinPath = join(dataDir, JOIN_FILE);
  const known = await readIfPresent(joinPath);
  if (known !== undefined) {
    const before = readJoinLine(Buffer.from(known).toString('utf8'));
    const same =
      before.network === line.network && Buffer.compare(before.rootKey, line.rootKey) === 0;
    if (!same) {
      throw new AgentError(
        'ERR_AGENT_STATE',
        `${dataDir}: belongs to network ${before.network}, not to ${line.network}; use another folder`,
      );
    }
  }
  const madeKey = await createDeviceKey(dataDir, random);
  const { deviceId } = await loadDeviceKey(dataDir);
  const { ownership, ...owner } = await settleOwner(options, { deviceId, network: line.network });
  await replaceFile(joinPath, `${formatJoinLine(line)}\n`, { mode: 0o600 });
  const configPath = join(dataDir, 'agent.yaml');
  const madeConfig = (await readIfPresent(configPath)) === undefined;
  if (madeConfig)
    await replaceFile(
      configPath,
      options.configYaml ?? proposeConfig({ ...options, sensors: [SYSTEM_SENSOR] }),
    );
  // The last: an owner whose phrase nobody was shown, since something behind it failed, would own the device for ever.
  if (ownership !== undefined) await saveOwnership(dataDir, ownership);
  const { network } = line;
  return { deviceId, network, madeKey, madeConfig, ...owner };
}

async function settleOwner(
  { dataDir, owner, random }: InitOptions,
  device: { readonly deviceId: string; readonly network: string },
): Promise<{
  readonly owner: string;
  readonly phrase: string | undefined;
  readonly madeOwner: boolean;
  /** To be kept; undefined where it is already. */
  readonly ownership: Ownership | undefined;
}> {
  const known = await loadOwnership(dataDir);
  if (known !== undefined && owner.type === 'new') {
    return { owner: known.owner, phrase: undefined, madeOwner: false, ownership: undefined };
  }
  const phrase = owner.type === 'new' ? await newPhrase(random) : undefined;
  const ownership =
    owner.type === 'signed'
      ? signedOwnership(owner.owner, owner.statement)
      : await ownershipFromPhrase(phrase ?? (owner as { phrase: string }).phrase, device);
  if (known !== undefined && known.owner !== ownership.owner) {
    throw new AgentError(
      'ERR_AGENT_STATE',
      `${dataDir}: belongs to ${known.owner}; a device changes hands by its owner's statement`,
    );
  }
  return { owner: ownership.owner, phrase, madeOwner: known === undefined, ownership };
}

/** @throws {AgentError} ERR_AGENT_OWNER when the texts are not a did:key and base64url. */
export function signedOwnership(owner: string, statement: string): Ownership {
  try {
    publicKeyFromDidKey(owner);
    return { owner, statement: fromBase64url(statement.trim()) };
  } catch (cause) {
    throw new AgentError('ERR_AGENT_OWNER', `owner: ${reasonOf(cause)}`, { cause });
  }
}
