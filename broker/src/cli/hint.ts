/** Commands in what others print, to be pasted. Pure but for the environment. */

import { CONFIG_DEFAULTS } from '../config.ts';

/**
 * `fieldproof-broker <command>` with what finds the same broker again, as far as that is not the default.
 *
 * @param command - after the name of the program.
 */
export function hint(
  command: string,
  { data, url, token }: { readonly data: string; readonly url?: string; readonly token?: string },
): string {
  const usual = process.env.FIELDPROOF_BROKER_DATA_DIR ?? CONFIG_DEFAULTS.dataDir;
  const given = [
    ...(data === usual ? [] : ['--data', quoted(data)]),
    ...(url === undefined ? [] : ['--url', quoted(url)]),
    ...(token === undefined ? [] : ['--token', quoted(token)]),
  ];
  return ['fieldproof-broker', command, ...given].join(' ');
}

/** As a shell takes it for one word. */
function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
