/** `fieldproof-broker token …` and `join-line`. */

import { type Command, Option } from 'commander';
import { renderUnicodeCompact } from 'uqr';
import { plainLine } from '../plain-text.ts';
import { type CommonFlags, common, createClient, print } from './common.ts';
import { formatTokens } from './format.ts';
import { hint } from './hint.ts';
import { wholeNumber } from './whole-number.ts';

interface TokenFlags extends CommonFlags {
  readonly uses: number;
  readonly hours?: number;
  readonly group?: string;
  readonly cell?: string;
  readonly host?: string;
}

export function addTokenCommands(program: Command): void {
  const tokens = program.command('token').description('enrolment tokens');
  tokenFlags(
    common(tokens.command('create').description('print a join line and its QR code')),
  ).action(createToken);
  common(tokens.command('list').description('tokens by their hash')).action(
    async (flags: CommonFlags) => {
      print(flags, await createClient(flags).call('GET', '/admin/tokens'), formatTokens);
    },
  );
  common(
    tokens
      .command('revoke <hash>')
      .description('no more enrolments with it, by the beginning of its hash'),
  ).action(async (hash: string, flags: CommonFlags) => {
    await createClient(flags).call('DELETE', `/admin/tokens/${encodeURIComponent(hash)}`);
    print(flags, { revoked: hash }, () => `revoked ${hash}`);
  });
  tokenFlags(
    common(program.command('join-line').description('the same as token create: a line to paste')),
  ).action(createToken);
}

async function createToken(flags: TokenFlags): Promise<void> {
  const { uses, hours, group, cell, host } = flags;
  const answer = await createClient(flags).call('POST', '/admin/tokens', {
    uses,
    ...(hours !== undefined && { hours }),
    ...(group !== undefined && { group }),
    ...(cell !== undefined && { cell }),
    ...(host !== undefined && { host }),
  });
  print(flags, answer, (value) => {
    const { joinLine, token } = value as {
      readonly joinLine: string;
      readonly token: { readonly expiresAt: number };
    };
    const end = new Date(token.expiresAt).toISOString();
    return `${formatJoinLine(joinLine)}\n\nvalid until ${end}, ${uses} device(s)`;
  });
}

interface EnrolFlags extends CommonFlags {
  readonly name?: string;
  readonly site?: string;
  readonly notes?: string;
  readonly group?: string;
  readonly cell?: string;
  readonly hours?: number;
  readonly host?: string;
  readonly qr?: boolean;
}

/** @param devices - the command `devices`. */
export function addEnrolCommand(devices: Command): void {
  common(
    devices
      .command('enrol')
      .description('print a join line for one device, with what you say of it')
      .option('--name <name>', 'what it is called, whatever it calls itself; published')
      .option('--site <text>', 'an address or a place, kept here only')
      .option('--notes <text>', 'notes of yours, kept here only')
      .option('--group <name>', 'its group, published')
      .option('--cell <h3>', 'its cell when it states none, published')
      .addOption(hoursOption())
      .option('--host <name>', 'how it reaches this machine')
      .option('--qr', 'the line as a QR code as well'),
  ).action(enrol);
}

async function enrol(flags: EnrolFlags): Promise<void> {
  const { name, site, notes, group, cell, hours, host, qr = false } = flags;
  const given = Object.entries({ name, site, notes, group, cell, hours, host });
  const body = Object.fromEntries(given.filter(([, value]) => value !== undefined));
  const answer = await createClient(flags).call('POST', '/admin/tokens', { ...body, uses: 1 });
  print(flags, answer, (value) => {
    const { joinLine, token } = value as {
      readonly joinLine: string;
      readonly token: { readonly hash: string; readonly name: string; readonly expiresAt: number };
    };
    const end = new Date(token.expiresAt).toISOString();
    const called = token.name === '' ? 'one device' : `one device, ${plainLine(token.name)}`;
    return [
      qr ? formatJoinLine(joinLine) : joinLine,
      '',
      `for ${called}; valid until ${end}`,
      `to take it back: ${hint(`token revoke ${token.hash}`, flags)}`,
    ].join('\n');
  });
}

/** A join line with its QR code below. */
export function formatJoinLine(joinLine: string): string {
  return `${joinLine}\n\n${renderUnicodeCompact(joinLine)}`;
}

export function hoursOption(): Option {
  const text = 'how long it is valid (default 24, and no longer than the token of --token)';
  return new Option('--hours <n>', text).argParser(wholeNumber);
}

function tokenFlags(command: Command): Command {
  return command
    .addOption(
      new Option('--uses <n>', 'devices that may join with it').default(1).argParser(wholeNumber),
    )
    .addOption(hoursOption())
    .option('--group <name>', 'group of those devices')
    .option('--cell <h3>', 'their cell when they state none')
    .option('--host <name>', 'how devices reach this machine');
}
