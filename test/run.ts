/**
 * `npm test`: runs jest and ends with one line `N passed, N failed, N skipped`. Arguments go to jest.
 * Suites whose server or browser is missing are listed; with REQUIRE_SERVICES=1 they fail instead.
 */

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';

interface Results {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly numFailedTestSuites: number;
  readonly numRuntimeErrorTestSuites: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
}

const root = resolve(import.meta.dirname, '..');
const folder = mkdtempSync(join(tmpdir(), 'fieldproof-test-'));
const output = join(folder, 'results.json');
const jest = resolve(root, 'node_modules/jest/bin/jest.js');

const child = spawn(
  process.execPath,
  [
    '--experimental-vm-modules',
    '--no-warnings',
    jest,
    '--json',
    `--outputFile=${output}`,
    ...process.argv.slice(2),
  ],
  { cwd: root, stdio: ['inherit', 'ignore', 'inherit'] },
);
process.on('SIGINT', () => child.kill('SIGINT'));

child.on('close', (code) => {
  process.exitCode = report(code ?? 1);
  rmSync(folder, { recursive: true, force: true });
});

function report(code: number): number {
  let results: Results;
  try {
    results = JSON.parse(readFileSync(output, 'utf8')) as Results;
  } catch {
    process.stdout.write('0 passed, 1 failed, 0 skipped\n');
    return code === 0 ? 1 : code;
  }
  const skipped = results.testResults.flatMap((suite) =>
    suite.assertionResults
      .filter((result) => result.status === 'pending' || result.status === 'todo')
      .map((result) => `  ${relative(root, suite.name)}: ${result.fullName}`),
  );
  if (skipped.length > 0) {
    process.stdout.write(
      `\nSKIPPED on this machine (${skipped.length}):\n${skipped.join('\n')}\n\n`,
    );
  }
  const broken = results.numRuntimeErrorTestSuites;
  const failed = results.numFailedTests + broken;
  process.stdout.write(
    `${results.numPassedTests} passed, ${failed} failed, ${results.numPendingTests + results.numTodoTests} skipped\n`,
  );
  return failed > 0 && code === 0 ? 1 : code;
}
