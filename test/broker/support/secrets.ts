/** Looks for a secret in text: by value, and as base64, base64url and hex, of its characters and of its bytes. */

/** @returns the spelling in which the secret is there, or null. */
export function findSecret(text: string, secret: string | Uint8Array): string | null {
  return spellings(secret).find((spelling) => text.includes(spelling)) ?? null;
}

function spellings(secret: string | Uint8Array): readonly string[] {
  const all = typeof secret === 'string' ? ofText(secret) : [Buffer.from(secret)];
  const encoded = all.flatMap((bytes) => [
    bytes.toString('base64').replace(/=+$/, ''),
    bytes.toString('base64url'),
    bytes.toString('hex'),
    bytes.toString('hex').toUpperCase(),
  ]);
  return typeof secret === 'string' ? [secret, encodeURIComponent(secret), ...encoded] : encoded;
}

function ofText(secret: string): readonly Buffer[] {
  const isBase64 = /^[A-Za-z0-9+/_-]{16,}={0,2}$/.test(secret);
  return isBase64 ? [Buffer.from(secret), Buffer.from(secret, 'base64url')] : [Buffer.from(secret)];
}
