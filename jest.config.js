import { availableParallelism } from 'node:os';

export default {
  testEnvironment: '<rootDir>/test/file-environment.mjs',
  // One core is left for the processes that tests start. Three workers even where there are two: suites wait for timers,
  // disks and processes for a good part of their time.
  maxWorkers: Math.max(3, availableParallelism() - 1),
  globalSetup: '<rootDir>/test/temporary-folder.mjs',
  globalTeardown: '<rootDir>/test/temporary-folder-end.mjs',
  testSequencer: '<rootDir>/test/slow-first-sequencer.mjs',
  // Ends what hangs. Nothing is judged by time, and CI machines are busy: no test has a limit below this one.
  testTimeout: 300_000,
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  modulePathIgnorePatterns: ['<rootDir>/.*/userdir', '<rootDir>/.*/dist/', '<rootDir>/data'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: { target: 'es2022', parser: { syntax: 'typescript' } },
        module: { type: 'es6' },
        sourceMaps: 'inline',
      },
    ],
  },
  reporters: ['default', '<rootDir>/test/summary-reporter.mjs'],
  coverageProvider: 'v8',
};
