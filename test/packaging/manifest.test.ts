import { describe, expect, test } from '@jest/globals';
import { type Manifest, publishedManifest } from '../../tools/manifest.ts';

const SHARED = {
  license: 'Apache-2.0',
  engines: { node: '>=20.19' },
  versions: { '@x/a': '1.2.3' },
};

function source(changes: object = {}): Manifest {
  return {
    name: '@x/b',
    version: '1.2.3',
    private: true,
    exports: { './*': './src/*.ts' },
    scripts: { build: 'x' },
    dependencies: { '@x/a': '1.2.3', mqtt: '5.0.0' },
    devDependencies: { esbuild: '1' },
    files: ['dist'],
    publishConfig: {
      access: 'public',
      exports: { './*': './dist/*.js' },
      bin: { b: './dist/b.js' },
    },
    ...changes,
  };
}

describe('a published manifest', () => {
  test('has what publishConfig says, and nothing that is only for development', () => {
    expect(publishedManifest(source(), SHARED)).toEqual({
      name: '@x/b',
      version: '1.2.3',
      license: 'Apache-2.0',
      engines: { node: '>=20.19' },
      exports: { './*': './dist/*.js' },
      bin: { b: './dist/b.js' },
      dependencies: { '@x/a': '1.2.3', mqtt: '5.0.0' },
      files: ['dist', 'CHANGELOG.md'],
      publishConfig: { access: 'public' },
    });
  });

  test('is refused without publishConfig: it would export sources', () => {
    const { publishConfig: _, ...rest } = source();
    expect(() => publishedManifest(rest as Manifest, SHARED)).toThrow('expected publishConfig');
  });

  test('is refused when it asks for another version of ours than there is', () => {
    const wrong = source({ dependencies: { '@x/a': '^1.0.0' } });
    expect(() => publishedManifest(wrong, SHARED)).toThrow(
      '@x/b: expected @x/a in version 1.2.3, got ^1.0.0',
    );
  });
});
