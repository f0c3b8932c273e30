/** Node-RED's settings in Fieldproof: what is open, what is closed, and where logs go. */
import type { LogLine } from './log-lines.ts';

export interface SettingsOptions {
  readonly userDir: string;
  /** bcrypt hash of the editor's password. */
  readonly passwordHash: string;
  readonly credentialSecret: string;
  readonly log: LogLine;
  /** What function nodes find under `global.get('fieldproof')`. */
  readonly functionGlobals: object;
}

/** Where flows serve their own HTTP endpoints; protected like the editor. */
export const HTTP_NODE_ROOT = '/endpoints';
export const EDITOR_USER = 'admin';
const LEVELS: Readonly<Record<number, 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace'>> = {
  10: 'fatal',
  20: 'error',
  30: 'warn',
  40: 'info',
  50: 'debug',
  60: 'trace',
};

/** The settings object for `RED.init`. */
export function nodeRedSettings(options: SettingsOptions): object {
  const { userDir, passwordHash, credentialSecret, log, functionGlobals } = options;
  return {
    userDir,
    flowFile: 'flows.json',
    flowFilePretty: true,
    credentialSecret,
    httpAdminRoot: '/',
    httpNodeRoot: HTTP_NODE_ROOT,
    adminAuth: {
      type: 'credentials',
      sessionExpiryTime: 86_400,
      users: [{ username: EDITOR_USER, password: passwordHash, permissions: '*' }],
    },
    externalModules: {
      palette: { allowInstall: false, allowUpload: false },
      modules: { allowInstall: false },
    },
    functionExternalModules: false,
    functionGlobalContext: { fieldproof: functionGlobals },
    telemetry: { enabled: false, updateNotification: false },
    diagnostics: { enabled: false, ui: false },
    runtimeState: { enabled: false, ui: false },
    paletteCategories: [
      'fieldproof',
      'subflows',
      'common',
      'function',
      'network',
      'sequence',
      'parser',
      'storage',
    ],
    editorTheme: {
      page: { title: 'Fieldproof' },
      header: { title: 'Fieldproof' },
      tours: false,
      projects: { enabled: false },
      palette: { catalogues: [] },
      codeEditor: { lib: 'monaco' },
    },
    logging: {
      fieldproof: {
        level: 'info',
        metrics: false,
        audit: false,
        handler: () => (message: { level: number; msg: unknown; type?: string; id?: string }) => {
          const level = LEVELS[message.level] ?? 'info';
          const { type, id } = message;
          log(level, textOf(message.msg), type === undefined ? {} : { type, node: id });
        },
      },
    },
  };
}

function textOf(message: unknown): string {
  if (typeof message === 'string') return message;
  if (message instanceof Error) return message.message;
  if (typeof message === 'object' && message !== null && 'message' in message) {
    return String(message.message);
  }
  return JSON.stringify(message) ?? String(message);
}
