/** When a client gets CSV, and how: `format=csv`, or an Accept header that prefers text/csv to JSON. */
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type CsvCell, csvChunks } from './csv.ts';
import type { JsonSchema } from './schemas.ts';

export const FORMAT: JsonSchema = {
  type: 'string',
  enum: ['json', 'csv'],
  description: 'Overrides the Accept header.',
};

/** Whether `request` asks for CSV (RFC 9110 section 12.5.1; `format` wins). */
export function wantsCsv(request: FastifyRequest, format: string | undefined): boolean {
  if (format !== undefined) return format === 'csv';
  const accept = request.headers.accept ?? '';
  return quality(accept, 'text/csv') > quality(accept, 'application/json');
}

/** Sends a CSV download, streamed. `rows` is read while it is sent. */
export function sendCsv(
  reply: FastifyReply,
  fileName: string,
  table: { readonly header: readonly string[]; readonly rows: Iterable<readonly CsvCell[]> },
): FastifyReply {
  return reply
    .type('text/csv; charset=utf-8; header=present')
    .header('content-disposition', `attachment; filename="${fileName}"`)
    .send(Readable.from(csvChunks(table.header, table.rows)));
}

/** The q-value that `accept` states for exactly this media type; 0 when it does not name it. */
function quality(accept: string, type: string): number {
  for (const range of accept.slice(0, 1024).split(',')) {
    const [name, ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
    if (name !== type) continue;
    const q = parameters.find((parameter) => parameter.startsWith('q='));
    return q === undefined ? 1 : Number(q.slice(2)) || 0;
  }
  return 0;
}
