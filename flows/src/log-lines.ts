/** Log lines as pino writes them: one JSON object a line. Passwords in addresses are not written. */

export type Level = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace';
export type LogLine = (level: Level, message: string, fields?: object) => void;

const NUMBERS: Readonly<Record<Level, number>> = {
  trace: 10,
  debug: 20,
  info: 30,
  warn: 40,
  error: 50,
  fatal: 60,
};

/** A logger onto `write`. */
export function logLines(write: (line: string) => void, clock: () => number): LogLine {
  return (level, message, fields = {}) => {
    const msg = withoutSecrets(message);
    write(
      `${JSON.stringify({ level: NUMBERS[level], time: clock(), name: 'flows', ...fields, msg })}\n`,
    );
  };
}

/** Hides `user:password@` of addresses, and tokens. */
export function withoutSecrets(text: string): string {
  return text
    .replace(/(\w+:\/\/)[^\s/@]+@/g, '$1***@')
    .replace(/\bfpt_[\w-]+/g, 'fpt_***')
    .replace(/\b(Bearer|Basic) [\w+/=.-]+/gi, '$1 ***');
}
