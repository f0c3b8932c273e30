/** A jest reporter that writes what `npm test` sums up: counts, and the names of what was skipped. */

import { writeFileSync } from 'node:fs';

export default class SummaryReporter {
  onRunComplete(_contexts, results) {
    const path = process.env.FIELDPROOF_TEST_SUMMARY;
    if (!path) return;
    const skipped = results.testResults.flatMap((suite) =>
      suite.testResults
        .filter(({ status }) => status === 'pending' || status === 'todo')
        .map(({ fullName }) => ({ file: suite.testFilePath, name: fullName })),
    );
    writeFileSync(
      path,
      JSON.stringify({
        passed: results.numPassedTests,
        // a suite that could not run at all counts as one
        failed: results.numFailedTests + results.numRuntimeErrorTestSuites,
        skipped,
      }),
    );
  }
}
