/** `fieldproof-broker keys …`: the role keys of a live network. */

import type { Command } from 'commander';
import type { ShownKey } from '../descriptor-desk.ts';
import { type CommonFlags, common, createClient, print } from './common.ts';
import { hint } from './hint.ts';

interface RotateFlags extends CommonFlags {
  readonly compromised?: boolean;
  readonly public?: string;
}

export function addKeyCommands(program: Command): void {
  const keys = program.command('keys').description('role keys: registry, log, control, ledger');
  common(keys.command('list').description('which are in force, since when, and which wait')).action(
    async (flags: CommonFlags) => {
      print(flags, await createClient(flags).call('GET', '/admin/keys'), formatKeys);
    },
  );
  common(keys.command('rotate <role>').description('replace a role key, without a restart'))
    .option('--compromised', 'the key in force is in wrong hands: what it signs counts no more')
    .option('--public <key>', 'z6Mk… of a key whose seed is kept elsewhere (control, ledger)')
    .action(async (role: string, flags: RotateFlags) => {
      const { compromised = false, public: publicKey } = flags;
      const body = { compromised, ...(publicKey !== undefined && { public: publicKey }) };
      const answer = await createClient(flags).call('POST', `${keyUrl(role)}/rotate`, body);
      print(flags, answer, (value) => formatRotated(role, value, flags));
    });
  common(keys.command('cancel <role>').description('give a key up that waits')).action(
    async (role: string, flags: CommonFlags) => {
      await createClient(flags).call('DELETE', `${keyUrl(role)}/next`);
      print(flags, { cancelled: role }, () => `${role}: the key that waited is gone`);
    },
  );
}

function keyUrl(role: string): string {
  return `/admin/keys/${encodeURIComponent(role)}`;
}

function formatKeys(value: unknown): string {
  const { keys, rootHere } = value as {
    readonly keys: readonly ShownKey[];
    readonly rootHere: boolean;
  };
  const lines = keys.flatMap(({ role, key, since, here, next, compromised }) => {
    const from =
      since === null ? 'since when is not known' : `since ${new Date(since).toISOString()}`;
    const line = `${role.padEnd(9)} ${key}  ${from}${here ? '' : '  (kept elsewhere)'}`;
    if (next === null) return [line];
    const why = compromised ? ', the one above is compromised' : '';
    return [line, `${''.padEnd(9)} ${next}  waits for a signed descriptor${why}`];
  });
  return [...lines, `root key  ${rootHere ? 'in the data folder' : 'kept offline'}`].join('\n');
}

function formatRotated(role: string, value: unknown, { data, url, token }: RotateFlags): string {
  const { key, installed, version } = value as {
    readonly key: string;
    readonly installed: boolean;
    readonly version: number;
  };
  if (installed) return `${role}: ${key} is in force, with descriptor ${version}`;
  const at = url === undefined ? {} : { url };
  // `draft` takes no token.
  const as = token === undefined ? {} : { token };
  return [
    `${role}: ${key} waits; the key in force stays so until a descriptor that names it is installed:`,
    `  ${hint('descriptor draft --out draft.cbor', { data, ...at })}`,
    '  fieldproof-broker descriptor sign draft.cbor --root <root key file> --out descriptor.cose   (offline)',
    `  ${hint('descriptor install descriptor.cose', { data, ...at, ...as })}`,
  ].join('\n');
}
