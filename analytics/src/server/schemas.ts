/** JSON schemas that several routes share, with the examples that the API document shows. */

/** A JSON schema as Fastify takes it. */
export type JsonSchema = Readonly<Record<string, unknown>>;

export const EXAMPLE_DEVICE = 'z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK';
export const BEARER = [{ bearer: [] }] as const;

/** `type` or null. */
export const nullable = (type: string, rest: JsonSchema = {}): JsonSchema => ({
  type: [type, 'null'],
  ...rest,
});

/** An object whose members are all required, and no others. */
export function objectOf(properties: Readonly<Record<string, JsonSchema>>): JsonSchema {
  const required = Object.keys(properties);
  return { type: 'object', additionalProperties: false, required, properties };
}

export const UNIX_MS: JsonSchema = { type: 'number', description: 'Unix time in ms' };

/** Names of devices, profiles and metrics in a query; what nothing has gives an empty answer. */
export const NAME: JsonSchema = { type: 'string', minLength: 1, maxLength: 128 };

export const PROBLEM: JsonSchema = {
  type: 'object',
  description: 'RFC 9457; `code` is stable, `remedy` says what to do.',
  required: ['type', 'title', 'status', 'detail', 'instance', 'code', 'remedy'],
  properties: {
    type: { type: 'string' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    instance: { type: 'string' },
    code: { type: 'string' },
    remedy: { type: 'string' },
    error: { type: 'string', description: 'from a write: the detail, for InfluxDB clients' },
  },
  examples: [
    {
      type: 'urn:fieldproof:error:ERR_TOKEN_SCOPE',
      title: 'The token is valid but lacks the scope that the route needs.',
      status: 403,
      detail: 'token chart: expected scope write, got read',
      instance: 'urn:fieldproof:request:9f1c0d6b2a',
      code: 'ERR_TOKEN_SCOPE',
      remedy: 'Use a token with the scope that the detail names.',
    },
  ],
};

const MEANINGS: Readonly<Record<number, string>> = {
  400: 'A parameter, or what it asks for, is outside its domain',
  401: 'No token, or one that is unknown or expired',
  403: 'The token lacks the scope',
  404: 'There is no such thing',
  413: 'The body is too large',
  415: 'The body has another content type or encoding',
  500: 'The server failed; the log has the cause under the request id',
  503: 'The store or the process cannot answer now; try again',
};

/** Response schemas of the problems with which a route may answer; 500 is among them always. */
export function problemResponses(...statuses: readonly number[]): Record<number, JsonSchema> {
  const responses: Record<number, JsonSchema> = {};
  for (const status of [...statuses, 500]) {
    responses[status] = {
      description: MEANINGS[status] ?? 'Problem',
      content: { 'application/problem+json': { schema: PROBLEM } },
    };
  }
  return responses;
}

/** The response schema of a JSON answer with an example. */
export function jsonResponse(
  description: string,
  schema: JsonSchema,
  example: unknown,
): JsonSchema {
  return {
    description,
    content: { 'application/json': { schema: { ...schema, examples: [example] } } },
  };
}

/** The same where the client may have CSV instead. */
export function jsonOrCsvResponse(
  description: string,
  schema: JsonSchema,
  examples: { readonly json: unknown; readonly csv: string },
): JsonSchema {
  return {
    description,
    content: {
      'application/json': { schema: { ...schema, examples: [examples.json] } },
      'text/csv': { schema: { type: 'string', examples: [examples.csv] } },
    },
  };
}
