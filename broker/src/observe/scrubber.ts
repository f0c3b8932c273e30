/**
 * Takes secrets out of text that leaves the process: those it was told of, in every spelling in which they could be
 * there, and whatever has the form of one. The last line of defence, behind not writing them at all.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export const REDACTED = '[redacted]';

/** Shorter ones would be found in everything; the forms below take those of a URL. */
const MIN_CHARACTERS = 6;
/** Folders and files of a data folder whose whole content is secret. */
const SECRET_FOLDERS = {
  keys: /^(?!.*\.(pub|pem)$)/,
  tokens: /./,
  '': /secret/,
} as const;

/** What a secret looks like where its value is not known. */
const FORMS: readonly (readonly [RegExp, string])[] = [
  // Authorization headers.
  [/\b(Bearer|Basic)(\s+)[^\s"'\\,;]+/gi, `$1$2${REDACTED}`],
  // Access tokens, wherever a client put one.
  [/fpa_[A-Za-z0-9_-]{20,}/g, REDACTED],
  // What an MQTT client calls itself, where that could be an enrolment token: 16 bytes in base64url.
  [/("client":")[A-Za-z0-9_-]{22}(?=")/g, `$1${REDACTED}`],
  // The password in a URL, up to the last @ before its path.
  [/(\b[a-z][a-z0-9+.-]*:\/\/[^\s"'/?#:@]*):[^\s"'/?#]*@/gi, `$1:${REDACTED}@`],
  // Join lines and queries.
  [/([?&](?:token|password|secret|key|access_token)=)[^\s"'&#\\]+/gi, `$1${REDACTED}`],
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g, REDACTED],
];

export class Scrubber {
  #spellings: readonly string[] = [];

  /** Adds a secret: text, or text that is the base64 or base64url of bytes, which are secret then as well. */
  add(secret: string): void {
    const found = new Set(this.#spellings);
    for (const spelling of spellingsOf(secret)) {
      if (spelling.length >= MIN_CHARACTERS) found.add(spelling);
    }
    // The longest first: one may be part of another.
    this.#spellings = [...found].sort((a, b) => b.length - a.length);
  }

  scrub(text: string): string {
    let clean = text;
    for (const spelling of this.#spellings) {
      if (clean.includes(spelling)) clean = clean.replaceAll(spelling, REDACTED);
    }
    for (const [form, put] of FORMS) clean = clean.replace(form, put);
    return clean;
  }
}

/** The secrets in the files of a data folder: seeds, private keys, tokens. */
export function secretsIn(dataDir: string): readonly string[] {
  return Object.entries(SECRET_FOLDERS).flatMap(([folder, pattern]) =>
    namesIn(join(dataDir, folder))
      .filter((name) => pattern.test(name))
      .flatMap((name) => contentOf(join(dataDir, folder, name))),
  );
}

/** The lines of a key file; of a PEM file those without its frame. */
export function secretLines(text: string): readonly string[] {
  const lines = text.split('\n').map((line) => line.trim());
  return lines.filter((line) => line !== '' && !line.startsWith('-----'));
}

/** The user's password in a URL; null when there is none. */
export function passwordIn(url: string): string | null {
  // To the last @: one that should have been written as %40 is part of it.
  const found = /^[a-z][a-z0-9+.-]*:\/\/[^/?#:@]*:(.*)@/i.exec(url)?.[1] ?? '';
  return found === '' ? null : found;
}

function spellingsOf(secret: string): readonly string[] {
  const decoded = decodePercent(secret);
  const texts = new Set([secret, decoded, encodeURIComponent(decoded)]);
  for (const text of [...texts]) texts.add(JSON.stringify(text).slice(1, -1));
  const all: Buffer[] = [Buffer.from(secret), Buffer.from(decoded)];
  if (/^[A-Za-z0-9+/_-]{16,}={0,2}$/.test(secret)) all.push(Buffer.from(secret, 'base64url'));
  const encoded = all.flatMap((bytes) => {
    const base64 = bytes.toString('base64');
    const hex = bytes.toString('hex');
    const bare = base64.replace(/=+$/, '');
    return [base64, bare, bytes.toString('base64url'), hex, hex.toUpperCase()];
  });
  return [...texts, ...encoded];
}

function decodePercent(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function contentOf(path: string): readonly string[] {
  try {
    return secretLines(readFileSync(path, 'utf8'));
  } catch {
    return [];
  }
}
