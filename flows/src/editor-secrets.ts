/** The editor's password and the secret that Node-RED encrypts credentials with: made once, kept in 0600 files. */
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';

export interface EditorSecrets {
  readonly password: string;
  readonly passwordFile: string;
  readonly credentialSecret: string;
  /** Whether the password is new, so that somebody should show it once. */
  readonly isNew: boolean;
}

/**
 * Reads the secrets of a folder, or makes them. A new password ends the sessions of the old one.
 *
 * @param folder - the data folder; `userDir` is Node-RED's below it.
 */
export async function loadEditorSecrets(folder: string, userDir: string): Promise<EditorSecrets> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const passwordFile = join(folder, 'editor-password');
  const password = await loadOrMake(passwordFile, () => randomBytes(15).toString('base64url'));
  const secret = await loadOrMake(join(folder, 'credential-secret'), () =>
    randomBytes(32).toString('hex'),
  );
  if (password.isNew) await rm(join(userDir, '.sessions.json'), { force: true });
  return {
    password: password.text,
    passwordFile,
    credentialSecret: secret.text,
    isNew: password.isNew,
  };
}

async function loadOrMake(path: string, make: () => string) {
  try {
    const text = (await readFile(path, 'utf8')).trim();
    if (text !== '') {
      await chmod(path, 0o600);
      return { text, isNew: false };
    }
    await rm(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const text = make();
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(`${text}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  return { text, isNew: true };
}
