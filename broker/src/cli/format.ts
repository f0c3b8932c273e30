/** What the command line shows to people. Pure. */

import { plainLine } from '../plain-text.ts';

interface ShownToken {
  readonly hash: string;
  readonly uses: number;
  readonly used: number;
  readonly group: string;
  readonly name?: string;
  readonly expiresAt: number;
  readonly usable: boolean;
}

export function formatTokens(value: unknown): string {
  const { tokens } = value as { readonly tokens: readonly ShownToken[] };
  if (tokens.length === 0) return 'no tokens';
  return tokens
    .map(({ hash, used, uses, group, expiresAt, usable, name = '' }) => {
      const state = usable ? 'usable' : 'spent';
      return `${hash}  ${state}  ${used}/${uses}  ${plainLine(group)}  until ${new Date(expiresAt).toISOString()}${name === '' ? '' : `  for ${plainLine(name)}`}`;
    })
    .join('\n');
}
