/**
 * The gateway that this device goes through, as a leaf: which, where, and the delegation that names it.
 * docs/spec/messages.md 6.2 and 6.6.
 */

import { join } from 'node:path';
import { equalBytes, toBase64url } from '@fieldproof/protocol/bytes';
import { readDelegation, sealDelegation } from '@fieldproof/protocol/delegation';
import { kidOf } from '@fieldproof/protocol/ed25519';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { parseEnvelope, type Signer } from '@fieldproof/protocol/envelope';
import {
  type GatewayHello,
  openGatewayHello,
  sealGatewayLogin,
} from '@fieldproof/protocol/gateway-login';
import { isDeviceIdText } from '@fieldproof/protocol/topics';
import type { Clock } from './clock.ts';
import { dial } from './dial.ts';
import { readIfPresent, replaceFile } from './durable-file.ts';
import { AgentError, reasonOf } from './errors.ts';
import { httpCall } from './http-call.ts';

const FILE = 'relay-through.json';
/** Before this a clock was never set: the software is younger. */
const EARLIEST_MS = Date.UTC(2026, 0, 1);
const MAX_AHEAD_MS = 86_400_000;

export interface Via {
  /** Device id; null: the device connects itself, and nobody relays for it any more. */
  readonly gateway: string | null;
  readonly host: string;
  readonly port: number;
  /** The delegation, signed by this device. */
  readonly delegation: Uint8Array;
}

/** @throws {AgentError} ERR_AGENT_STATE when the file is damaged. */
export async function loadVia(dataDir: string): Promise<Via | undefined> {
  const path = join(dataDir, FILE);
  const bytes = await readIfPresent(path);
  if (bytes === undefined) return undefined;
  try {
    const { host, port, delegation } = JSON.parse(Buffer.from(bytes).toString('utf8')) as Record<
      string,
      unknown
    >;
    const statement = new Uint8Array(Buffer.from(String(delegation), 'base64url'));
    const { gateway } = readDelegation(statement);
    if (typeof host === 'string' && Number.isSafeInteger(port)) {
      return { gateway, host, port: port as number, delegation: statement };
    }
  } catch {
    // Reported below, with the name of the file.
  }
  throw new AgentError('ERR_AGENT_STATE', `${path}: expected { host, port, delegation }`);
}

/**
 * Names a gateway, or with null nobody any more, and makes it durable. It counts from the next start on, and for the network
 * once it is filed, which the gateway does.
 *
 * @param options.expires - Unix ms, or null.
 */
export async function saveVia(
  dataDir: string,
  options: {
    readonly network: string;
    readonly leaf: string;
    readonly signer: Signer;
    readonly gateway: string | null;
    readonly host: string;
    readonly port: number;
    readonly expires: number | null;
    readonly nowMs: number;
  },
): Promise<Via> {
  const { network, leaf, signer, gateway, host, port, expires, nowMs } = options;
  const before = await loadVia(dataDir);
  const last = before === undefined ? 0 : readDelegation(before.delegation).issued;
  // It grows also where the clock was set back, or says 1970. One from a clock far ahead has never counted (registry.md 8.2).
  const isFromTheFuture = nowMs > EARLIEST_MS && last > nowMs + MAX_AHEAD_MS;
  const issued = isFromTheFuture ? Math.floor(nowMs) : Math.max(last + 1, Math.floor(nowMs));
  const delegation = sealDelegation({ leaf, gateway, issued, expires }, { network, signer });
  const content = { gateway, host, port, delegation: toBase64url(delegation) };
  await replaceFile(join(dataDir, FILE), `${JSON.stringify(content)}\n`);
  return { gateway, host, port, delegation };
}

/**
 * The gateway as it is kept, named anew where the device has another key by now: a gateway takes it under the
 * present one only (docs/spec/messages.md 6.2).
 *
 * @throws {AgentError} ERR_AGENT_STATE when the file is damaged.
 */
export async function currentVia(
  dataDir: string,
  by: {
    readonly network: string;
    readonly leaf: string;
    readonly signer: Signer;
    readonly nowMs: number;
  },
): Promise<Via | undefined> {
  const via = await loadVia(dataDir);
  if (via === undefined || via.gateway === null) return via;
  const { kid } = parseEnvelope(via.delegation);
  if (equalBytes(kid, kidOf(by.signer.publicKey))) return via;
  const { expires } = readDelegation(via.delegation);
  return await saveVia(dataDir, { ...by, ...via, expires });
}

/** Splits `host:port`. @throws {AgentError} ERR_AGENT_USAGE */
export function parseAddress(text: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^\s/:@?#[\]]+)):(\d{1,5})$/i.exec(text);
  const port = Number(match?.[3]);
  if (match !== null && port > 0 && port < 65_536) return { host: match[1] ?? match[2]!, port };
  throw new AgentError('ERR_AGENT_USAGE', `address: expected host:port, got ${text}`);
}

/** @throws {AgentError} ERR_AGENT_USAGE */
export function checkGatewayId(text: string): string {
  if (isDeviceIdText(text)) return text;
  throw new AgentError('ERR_AGENT_USAGE', `gateway: expected a device id, z6Mk…, got ${text}`);
}

interface GatewayContext {
  readonly network: string;
  /** Role key `registry`, as far as it is known. */
  readonly registryKey: Uint8Array | undefined;
  readonly random: (length: number) => Uint8Array;
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly signal?: AbortSignal;
}

type ViaGateway = Via & { readonly gateway: string };

/**
 * Asks the gateway who it is.
 *
 * @throws {AgentError} ERR_AGENT_UNREACHABLE; ERR_AGENT_GATEWAY when somebody else answers.
 */
export async function gatewayHello(
  { gateway, host, port }: ViaGateway,
  { network, registryKey, random, timeoutMs, clock, signal }: GatewayContext,
): Promise<GatewayHello> {
  const clientNonce = random(16);
  const socket = await dial({ host, port, tls: false, timeoutMs, clock, signal });
  const path = `/v1/gateway/hello?nonce=${toBase64url(clientNonce)}`;
  const authority = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  const asked = { method: 'GET', host: authority, path, timeoutMs } as const;
  const answer = await httpCall(socket, { ...asked, ...(signal && { signal }) });
  try {
    return openGatewayHello(answer.body, { network, gateway, clientNonce, registryKey, verify });
  } catch (cause) {
    const message = `${authority}: expected gateway ${gateway}: ${reasonOf(cause)}`;
    throw new AgentError('ERR_AGENT_GATEWAY', message, { cause });
  }
}

/** Asks the gateway for a nonce and makes the password for it. @throws as `gatewayHello`. */
export async function gatewayPassword(
  via: ViaGateway,
  context: GatewayContext & {
    readonly leaf: string;
    readonly signer: Signer;
    /** As it was signed. */
    readonly credential: Uint8Array | null;
  },
): Promise<string> {
  const { gateway, delegation } = via;
  const { network, leaf, signer, credential } = context;
  const { nonce } = await gatewayHello(via, context);
  const login = { leaf, nonce, credential, delegation };
  return toBase64url(sealGatewayLogin(login, { network, gateway, signer }));
}
