/** `fieldproof-broker access …`: bearer tokens of people and programs. */

import { type Command, InvalidArgumentError } from 'commander';
import { SCOPES } from '../http/scopes.ts';
import { plainLine } from '../plain-text.ts';
import { type CommonFlags, common, createClient, print } from './common.ts';

interface CreateFlags extends CommonFlags {
  readonly name: string;
  readonly scope: readonly string[];
  readonly days?: number | typeof FOR_EVER;
}

interface ShownAccess {
  readonly hash: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly expiresAt: number | null;
  readonly lastUsedAt: number | null;
  readonly revoked: boolean;
  readonly usable: boolean;
}

/** As many characters of a hash as name a token to people. */
const SHOWN_HASH = 12;
/** Of `--days`. */
const FOR_EVER = 'none';

export function addAccessCommands(program: Command): void {
  const access = program
    .command('access')
    .description('bearer tokens of people and programs, each for what its scopes say');
  common(access.command('create').description('make a token; it is shown once'))
    .requiredOption('--name <name>', 'of whom; kept in the database only, not in the log')
    .requiredOption('--scope <scopes>', SCOPES.join(','), (text) => text.split(','))
    .option(
      '--days <n>',
      'how long it is valid, or none for ever (default 90, and no longer than the token of --token)',
      daysOf,
    )
    .action(async (flags: CreateFlags) => {
      const { name, scope: scopes, days } = flags;
      const answer = await createClient(flags).call('POST', '/admin/access', {
        name,
        scopes,
        ...(days !== undefined && { days: days === FOR_EVER ? null : days }),
      });
      print(flags, answer, formatCreated);
    });
  common(access.command('list').description('name, scopes, end and last use')).action(
    async (flags: CommonFlags) => {
      print(flags, await createClient(flags).call('GET', '/admin/access'), formatList);
    },
  );
  common(
    access.command('revoke <hash>').description('end a token, by the beginning of its hash'),
  ).action(async (hash: string, flags: CommonFlags) => {
    const path = `/admin/access/${encodeURIComponent(hash)}`;
    print(flags, await createClient(flags).call('DELETE', path), (value) => {
      const token = value as ShownAccess & {
        readonly alsoRevoked: readonly string[];
        readonly alsoRevokedJoinLines: readonly string[];
      };
      return [
        `revoked ${token.hash.slice(0, SHOWN_HASH)}, ${plainLine(token.name) || 'name not known'}`,
        ...token.alsoRevoked.map((made) => `revoked ${made.slice(0, SHOWN_HASH)}, made with it`),
        ...token.alsoRevokedJoinLines.map((made) => `revoked join line ${made}, made with it`),
      ].join('\n');
    });
  });
}

function daysOf(text: string): number | typeof FOR_EVER {
  if (text === FOR_EVER) return FOR_EVER;
  if (/^[1-9]\d{0,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('expected a number of days, or none');
}

function formatCreated(value: unknown): string {
  const { token, access } = value as { readonly token: string; readonly access: ShownAccess };
  const scopes = access.scopes.join(', ');
  return [token, '', `for ${plainLine(access.name)}: ${scopes}; ${endOf(access)}`].join('\n');
}

function formatList(value: unknown): string {
  const { tokens } = value as { readonly tokens: readonly ShownAccess[] };
  if (tokens.length === 0) return 'no access tokens besides those in the data folder';
  return tokens
    .flatMap((token) => [
      `${token.hash.slice(0, SHOWN_HASH)}  ${plainLine(token.name) || '(name not known)'}  ${stateOf(token)}`,
      `${''.padEnd(SHOWN_HASH)}  ${token.scopes.join(', ')}; ${usedOf(token)}`,
    ])
    .join('\n');
}

function stateOf(token: ShownAccess): string {
  if (token.revoked) return 'revoked';
  return token.usable ? endOf(token) : 'ended';
}

function endOf({ expiresAt }: ShownAccess): string {
  return expiresAt === null ? 'without an end' : `until ${dayOf(expiresAt)}`;
}

function usedOf({ lastUsedAt }: ShownAccess): string {
  return lastUsedAt === null ? 'never used' : `last used ${dayOf(lastUsedAt)}`;
}

function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}
