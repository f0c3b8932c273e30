/** `fieldproof token create|list|revoke`: who may call the API. Needs an admin token. */
import { AnalyticsError } from '../../errors.ts';
import type { AddCommand } from '../program.ts';
import { formatTable } from '../table.ts';

interface Token {
  readonly name: string;
  readonly scopes: readonly string[];
  readonly createdMs: number;
  readonly expiresMs: number;
}

const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10);

export const addToken: AddCommand = (program, { run, io }) => {
  const token = program.command('token').description('make, list and revoke API tokens');
  token.addHelpText(
    'after',
    '\nExamples:\n  fieldproof token create grafana --scope read --days 30\n' +
      '  fieldproof token list\n  fieldproof token revoke grafana\n',
  );

  const create = token
    .command('create')
    .description('make a token and print it, this once')
    .argument('<name>', 'what it is for: a-z, 0-9, . _ -')
    .option('--scope <scope...>', 'read, write, config or admin; several may be given', ['read'])
    .option('--days <days>', 'until it expires', '90');
  create.addHelpText(
    'after',
    '\nExamples:\n  fieldproof token create grafana\n' +
      '  fieldproof token create telegraf --scope write --days 365\n',
  );
  run(create, async ({ client, json, args, options }) => {
    const days = String(options.days);
    if (!/^\d{1,5}$/.test(days)) {
      throw new AnalyticsError('ERR_USAGE', `--days: expected a number of days, got ${days}`);
    }
    const body = { name: args[0], scopes: options.scope, days: Number(days) };
    const made = await client.json<Token & { token: string }>('POST', '/v1/tokens', body);
    if (json(made)) return;
    io.err(
      `${made.name}: ${made.scopes.join(', ')}, until ${day(made.expiresMs)}; keep it safe:\n`,
    );
    io.out(`${made.token}\n`);
  });

  const list = token.command('list').description('tokens by name; their text is nowhere');
  list.addHelpText('after', '\nExamples:\n  fieldproof token list --json\n');
  run(list, async ({ client, json }) => {
    const answer = await client.json<{ tokens: readonly Token[] }>('GET', '/v1/tokens');
    if (json(answer)) return;
    const rows = answer.tokens.map((t) => [
      ...[t.name, t.scopes.join(','), day(t.createdMs), day(t.expiresMs)],
    ]);
    io.out(formatTable(['NAME', 'SCOPES', 'CREATED', 'EXPIRES'], rows));
  });

  const revoke = token
    .command('revoke')
    .description('end a token at once')
    .argument('<name>', 'as in fieldproof token list');
  revoke.addHelpText('after', '\nExamples:\n  fieldproof token revoke grafana\n');
  run(revoke, async ({ client, json, args }) => {
    await client.json('DELETE', `/v1/tokens/${encodeURIComponent(args[0] ?? '')}`);
    if (!json({ revoked: args[0] })) io.out(`revoked ${args[0]}\n`);
  });
};
