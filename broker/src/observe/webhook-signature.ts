/**
 * How webhooks are signed: HMAC-SHA256 over `<timestamp>.<body>` with the text of the secret file as the key. The
 * timestamp is Unix seconds; a receiver refuses one that is old, so that what was recorded cannot be played again.
 */

import { createHmac, timingSafeEqual } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { toBase64url } from '@fieldproof/protocol/bytes';
import { BrokerError } from '../errors.ts';
import { replaceFile } from '../replace-file.ts';

export const TIMESTAMP_HEADER = 'fieldproof-timestamp';
export const SIGNATURE_HEADER = 'fieldproof-signature';
const SCHEME = 'v1=';
const SECRET_BYTES = 32;
/** Less than this can be guessed. */
const MIN_SECRET_CHARACTERS = 32;

/** The value of the signature header. */
export function signWebhook(
  secret: string,
  { timestamp, body }: { readonly timestamp: string; readonly body: string },
): string {
  return SCHEME + createHmac('sha256', secret).update(`${timestamp}.${body}`).digest('hex');
}

/** Whether a signature header is that of a body, and its timestamp within `toleranceS` of now. */
export function verifyWebhook(
  secret: string,
  received: { readonly timestamp: string; readonly signature: string; readonly body: string },
  { nowS, toleranceS = 300 }: { readonly nowS: number; readonly toleranceS?: number },
): boolean {
  const { timestamp, signature, body } = received;
  if (!/^\d{1,12}$/.test(timestamp)) return false;
  if (Math.abs(nowS - Number(timestamp)) > toleranceS) return false;
  const expected = Buffer.from(signWebhook(secret, { timestamp, body }));
  const presented = Buffer.from(signature);
  return expected.length === presented.length && timingSafeEqual(expected, presented);
}

/**
 * Reads the secret, or makes one, mode 0600.
 *
 * @throws {BrokerError} ERR_CONFIG when the file holds less than 32 characters.
 */
export function loadWebhookSecret(path: string, random: (bytes: number) => Uint8Array): string {
  if (!existsSync(path)) replaceFile(path, `${toBase64url(random(SECRET_BYTES))}\n`);
  const secret = readFileSync(path, 'utf8').trim();
  if (secret.length >= MIN_SECRET_CHARACTERS) return secret;
  const found = `${MIN_SECRET_CHARACTERS} characters or more, got ${secret.length}`;
  throw new BrokerError('ERR_CONFIG', `webhookSecretFile ${path}: expected ${found}`);
}
