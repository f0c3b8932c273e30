/** HTTP Basic authentication for what flows serve themselves, with the editor's user and password. */
import { createHash } from 'node:crypto';
import bcrypt from 'bcryptjs';
import type { RequestHandler } from 'express';
import { EDITOR_USER } from './settings.ts';

/** Express middleware. The header that was right last is remembered by its hash: bcrypt is slow on purpose. */
export function basicAuth(passwordHash: string): RequestHandler {
  let known = '';
  return (request, response, next) => {
    const header = request.headers.authorization ?? '';
    const refuse = () => {
      response.setHeader('www-authenticate', 'Basic realm="Fieldproof flows"');
      response.status(401).end();
    };
    const [, encoded] = /^Basic ([\w+/=-]{1,200})$/i.exec(header) ?? [];
    if (encoded === undefined) return refuse();
    const hash = createHash('sha256').update(header).digest('hex');
    if (hash === known) return next();
    const pair = Buffer.from(encoded, 'base64').toString('utf8');
    const colon = pair.indexOf(':');
    if (colon < 0 || pair.slice(0, colon) !== EDITOR_USER) return refuse();
    bcrypt.compare(pair.slice(colon + 1), passwordHash).then((matches) => {
      if (!matches) return refuse();
      known = hash;
      next();
    }, next);
  };
}
