/** `fieldproof-agent relay-through …`: this device becomes a leaf of a gateway, or is one no more. */

import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { systemClock } from './clock.ts';
import type { AgentConfig } from './config.ts';
import { openMembership } from './contact.ts';
import { AgentError, reasonOf } from './errors.ts';
import { silentLog } from './log.ts';
import { checkGatewayId, loadVia, parseAddress, saveVia } from './via.ts';

interface RelayFlags {
  readonly data: string;
  readonly config?: string;
  readonly set: readonly string[];
  readonly json?: boolean;
  readonly at?: string;
  readonly days?: string;
  readonly off?: boolean;
}

/** What this command takes from the others. */
export interface RelayContext {
  readonly common: (command: Command) => Command;
  readonly configOf: (flags: RelayFlags) => Promise<AgentConfig>;
  readonly out: (text: string) => void;
  readonly random: (length: number) => Uint8Array;
}

const DAY_MS = 86_400_000;
const QUICK_MS = 5000;

export function addRelayCommand(program: Command, context: RelayContext): void {
  context
    .common(program.command('relay-through [gateway]'))
    .description('have a gateway on the local network carry what this device seals')
    .option('--at <address>', 'host:port of the gateway on the local network')
    .option('--days <days>', 'how long it may (default: until you name another one)')
    .option('--off', 'connect to the network itself again, and let nobody relay')
    .option('--json', 'print JSON')
    .action((gateway: string | undefined, flags: RelayFlags) =>
      relayThrough(gateway, flags, context),
    );
}

async function relayThrough(
  gateway: string | undefined,
  flags: RelayFlags,
  { configOf, out, random }: RelayContext,
): Promise<void> {
  const dataDir = resolve(flags.data);
  const named = namedBy(gateway, flags);
  const config = await configOf(flags);
  const quick = { ...config, link: { ...config.link, timeoutMs: QUICK_MS } };
  const contact = { dataDir, config: quick, clock: systemClock, log: silentLog, random };
  const { membership, identity } = await openMembership(contact);
  if (membership.credential === undefined) {
    // A gateway carries what is sealed, and no tokens: the way in is a direct one, once.
    await membership.prepare();
  }
  const before = await loadVia(dataDir);
  const { network, deviceId: leaf } = membership;
  const via = await saveVia(dataDir, {
    ...{ network, leaf, signer: identity.signer },
    host: before?.host ?? '',
    port: before?.port ?? 0,
    ...named,
    nowMs: Date.now(),
  });
  const path = `/v1/devices/${leaf}/delegation`;
  let filed: string | null = null;
  try {
    if (membership.descriptor === undefined) await membership.fetchDescriptor();
    const { status, problem } = await membership.ask('POST', path, via.delegation);
    if (status >= 300) filed = `${problem?.code ?? status} ${problem?.detail ?? ''}`.trim();
  } catch (error) {
    filed = reasonOf(error);
  }
  if (flags.json) {
    out(`${JSON.stringify({ device: leaf, gateway: via.gateway, filed: filed === null })}\n`);
    return;
  }
  if (via.gateway === null) out(`device    ${leaf}\ngateway   none: it connects itself\n`);
  else out(`device    ${leaf}\ngateway   ${via.gateway} at ${via.host}:${via.port}\n`);
  if (filed === null) out('The network knows.\n');
  else if (via.gateway !== null) out(`Not filed now (${filed}): the gateway files it.\n`);
  else out(`Not filed now (${filed}): call it again with a network, or the gateway still may.\n`);
  out(
    `It counts from the next start of the agent on. Kept in ${join(dataDir, 'relay-through.json')}.\n`,
  );
}

function namedBy(gateway: string | undefined, { at, days, off = false }: RelayFlags) {
  if (off && gateway === undefined) return { gateway: null, expires: null };
  if (off || gateway === undefined || at === undefined) {
    const message = 'relay-through: expected a gateway’s id with --at host:port, or --off';
    throw new AgentError('ERR_AGENT_USAGE', message);
  }
  if (days !== undefined && !/^[1-9]\d{0,4}$/.test(days)) {
    throw new AgentError('ERR_AGENT_USAGE', `--days: expected a whole number, got ${days}`);
  }
  const expires = days === undefined ? null : Date.now() + Number(days) * DAY_MS;
  return { gateway: checkGatewayId(gateway), expires, ...parseAddress(at) };
}
