export default {
  testEnvironment: 'node',
  // Generous: nothing is judged by time, and CI machines are busy.
  testTimeout: 60_000,
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
