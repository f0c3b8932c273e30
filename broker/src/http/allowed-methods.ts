/** Which methods a path has, so that another one is told apart from a path that there is not (RFC 9110 section 15.5.6). */

import type { FastifyInstance } from 'fastify';

/**
 * Watches the routes as they are added; to be called before that.
 *
 * @returns the methods of a path, in the order of the alphabet; none when there is no such path.
 */
export function watchMethods(app: FastifyInstance): (path: string) => readonly string[] {
  const routes: { readonly form: RegExp; readonly methods: readonly string[] }[] = [];
  app.addHook('onRoute', ({ url, method }) => {
    routes.push({ form: formOf(url), methods: [method].flat() });
  });
  return (path) => {
    const [plain = ''] = path.split('?', 1);
    const found = routes.filter(({ form }) => form.test(plain));
    return [...new Set(found.flatMap(({ methods }) => methods))].sort();
  };
}

/** Of a route with `:parameters` and `*`. */
function formOf(url: string): RegExp {
  const source = url
    .split(/(:\w+|\*)/)
    .map((part) => {
      if (part === '*') return '.*';
      return part.startsWith(':') ? '[^/]+' : part.replace(/[.+?^${}()|[\]\\]/g, '\\$&');
    })
    .join('');
  return new RegExp(`^${source}$`);
}
