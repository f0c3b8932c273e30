/**
 * What an InfluxDB 1.x answer to a write means: try again, or never.
 */
import { AnalyticsError, type AnalyticsErrorCode } from '../errors.ts';

/**
 * The error for a write that was not answered with 204.
 *
 * @param status - HTTP status.
 * @param text - the response body, JSON with `error` or anything else.
 */
export function writeError(status: number, text: string): AnalyticsError {
  const message = errorText(text) || `HTTP ${status}`;
  return new AnalyticsError(writeErrorCode(status, message), `InfluxDB write: ${message}`);
}

/**
 * The code for a write that was not answered with 2xx.
 *
 * @param message - the server's sentence.
 */
export function writeErrorCode(status: number, message: string): AnalyticsErrorCode {
  if (status === 401 || status === 403) return 'ERR_STORE_AUTH';
  if (status === 413) return 'ERR_STORE_BODY_TOO_LARGE';
  if (status !== 400 && status !== 422) return 'ERR_STORE_UNAVAILABLE';
  if (message.includes('field type conflict')) return 'ERR_STORE_FIELD_TYPE';
  if (/max-(series-per-database|values-per-tag) limit exceeded/.test(message)) {
    return 'ERR_STORE_SERIES_BUDGET';
  }
  // InfluxDB 1.x answers these with 400 although nothing is wrong with the lines.
  return isBusy(message) ? 'ERR_STORE_UNAVAILABLE' : 'ERR_STORE_LINES_REFUSED';
}

/** The error for a query that failed inside the server. */
export function queryError(message: string): AnalyticsError {
  if (isBusy(message)) {
    return new AnalyticsError('ERR_STORE_UNAVAILABLE', `InfluxDB query: ${message}`);
  }
  if (/authoriz|authentication/i.test(message)) {
    return new AnalyticsError('ERR_STORE_AUTH', `InfluxDB query: ${message}`);
  }
  return new AnalyticsError('ERR_STORE_QUERY', `InfluxDB query: ${message}`);
}

/** Measurement, field and type of a conflict that the server describes. */
export function conflictOf(
  message: string,
): { readonly measurement: string; readonly field: string; readonly type: string } | undefined {
  const match =
    /input field "((?:[^"\\]|\\.)*)" on measurement "((?:[^"\\]|\\.)*)" is type (\w+),/.exec(
      message,
    );
  if (match === null) return undefined;
  const [, field, measurement, type] = match;
  try {
    // The server quotes as Go does; for printable text that is JSON's quoting.
    return {
      measurement: JSON.parse(`"${measurement}"`),
      field: JSON.parse(`"${field}"`),
      type: type!,
    };
  } catch {
    return undefined;
  }
}

function isBusy(message: string): boolean {
  return /timeout|engine is closed|shutting down|not ready/i.test(message);
}

/** The server's sentence, at most 500 characters: it may quote a whole line. */
function errorText(text: string): string {
  let message = text.trim();
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed === 'object' && parsed !== null && 'error' in parsed) {
      message = String(parsed.error);
    }
  } catch {}
  return message.length > 500 ? `${message.slice(0, 500)}…` : message;
}
