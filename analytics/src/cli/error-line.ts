/** What a command line says about a failure: one line, `error CODE: message — remedy`. */
import { FieldproofError } from '@fieldproof/protocol/errors';
import { ANALYTICS_ERRORS } from '../errors.ts';
import { printable } from './table.ts';

/** The line, without its end. */
export function errorLine(error: unknown): string {
  if (error instanceof ApiProblem) {
    return `error ${error.code}: ${printable(error.message)} — ${printable(error.remedy)}`;
  }
  if (error instanceof FieldproofError) {
    const row = (ANALYTICS_ERRORS as Record<string, { remedy: string }>)[error.code];
    const remedy = row === undefined ? '' : ` — ${row.remedy}`;
    return `error ${error.code}: ${printable(error.message)}${remedy}`;
  }
  const { message } = error as { message?: string };
  return `error ERR_INTERNAL: ${printable(message ?? String(error))}`;
}

/** A problem document that the API answered with. */
export class ApiProblem extends FieldproofError {
  readonly status: number;
  readonly remedy: string;

  constructor(
    code: string,
    message: string,
    { status, remedy }: { readonly status: number; readonly remedy: string },
  ) {
    super(code, message);
    this.status = status;
    this.remedy = remedy;
  }
}

/** The exit code of a failure: 2 usage, 3 network, 4 authorisation, 1 everything else. */
export function exitCode(error: unknown): number {
  if (error instanceof ApiProblem) return error.status === 401 || error.status === 403 ? 4 : 1;
  switch ((error as { code?: unknown }).code) {
    case 'ERR_USAGE':
      return 2;
    case 'ERR_API_UNREACHABLE':
    case 'ERR_API_ANSWER':
      return 3;
    case 'ERR_TOKEN_MISSING':
      return 4;
    default:
      return 1;
  }
}
