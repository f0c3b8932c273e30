/**
 * `npm test`: runs jest and ends with one line `N passed, N failed, N skipped`. Arguments go to jest.
 * Suites whose server or browser is missing are listed; with REQUIRE_SERVICES=1 they fail instead.
 */

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';

interface Summary {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: readonly { readonly file: string; readonly name: string }[];
}

const root = resolve(import.meta.dirname, '..');
const folder = mkdtempSync(join(tmpdir(), 'fieldproof-test-'));
const output = join(folder, 'summary.json');
const jest = resolve(root, 'node_modules/jest/bin/jest.js');

const child = spawn(
  process.execPath,
  // A handle that some suite left open must not keep a finished run from ending.
  ['--experimental-vm-modules', '--no-warnings', jest, '--forceExit', ...process.argv.slice(2)],
  {
    cwd: root,
    stdio: ['inherit', 'inherit', 'inherit'],
    env: { ...process.env, FIELDPROOF_TEST_SUMMARY: output },
  },
);
process.on('SIGINT', () => child.kill('SIGINT'));

child.on('close', (code) => {
  process.exitCode = report(code ?? 1);
  rmSync(folder, { recursive: true, force: true });
});

function report(code: number): number {
  let summary: Summary;
  try {
    summary = JSON.parse(readFileSync(output, 'utf8')) as Summary;
  } catch {
    process.stdout.write('0 passed, 1 failed, 0 skipped\n');
    return code === 0 ? 1 : code;
  }
  const { passed, failed, skipped } = summary;
  if (skipped.length > 0) {
    const lines = skipped.map(({ file, name }) => `  ${relative(root, file)}: ${name}`);
    process.stdout.write(`\nSKIPPED on this machine (${skipped.length}):\n${lines.join('\n')}\n\n`);
  }
  process.stdout.write(`${passed} passed, ${failed} failed, ${skipped.length} skipped\n`);
  return failed > 0 && code === 0 ? 1 : code;
}
