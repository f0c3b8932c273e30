/** Log lines: one JSON object or one readable line each. Keys, tokens and phrases never come here. */

export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

export type Log = Readonly<Record<LogLevel, (event: string, fields?: LogFields) => void>>;

/**
 * A log that writes lines.
 *
 * @param write - takes one line, newline included.
 * @param nowMs - Unix time of a line, ms.
 */
export function lineLog(options: {
  readonly level: LogLevel;
  readonly format: 'text' | 'json';
  readonly write: (line: string) => void;
  readonly nowMs: () => number;
}): Log {
  const threshold = LOG_LEVELS.indexOf(options.level);
  const at =
    (level: LogLevel) =>
    (event: string, fields: LogFields = {}): void => {
      if (LOG_LEVELS.indexOf(level) > threshold) return;
      const time = new Date(options.nowMs()).toISOString();
      const line =
        options.format === 'json'
          ? JSON.stringify({ time, level, event, ...fields })
          : `${time} ${level.padEnd(5)} ${event}${textFields(fields)}`;
      options.write(`${line}\n`);
    };
  return { error: at('error'), warn: at('warn'), info: at('info'), debug: at('debug') };
}

/** Says nothing. */
export const silentLog: Log = { error() {}, warn() {}, info() {}, debug() {} };

/** What a sensor or a server says may neither begin a line nor move the cursor of a terminal. */
export function inOneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]+/gu, ' ');
}

function textFields(fields: LogFields): string {
  let text = '';
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    const shown = inOneLine(String(value));
    text += ` ${key}=${/[\s"=]/.test(shown) ? JSON.stringify(shown) : shown}`;
  }
  return text;
}
