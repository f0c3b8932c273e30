/** What a file system's refusal to keep the state of a projection is to its operator. */
import { AnalyticsError } from '../errors.ts';

/** An ERR_STATE_WRITE that names the file and the cause, such as ENOSPC. */
export function stateWriteError(path: string, cause: unknown): AnalyticsError {
  if (cause instanceof AnalyticsError) return cause;
  return new AnalyticsError('ERR_STATE_WRITE', `${path}: ${(cause as Error).message}`, { cause });
}
