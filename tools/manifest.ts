/**
 * What a package says of itself when it is published, made from what it says in this repository.
 *
 * Here packages export TypeScript and are private, so that nobody publishes sources by accident. `publishConfig` names what differs
 * for users (`exports`, `bin`, `node-red`, …), as pnpm has it; scripts and development dependencies stay behind.
 */

/** A parsed package.json; only what is read here has a type. */
export interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly publishConfig?: Readonly<Record<string, unknown>>;
  readonly [key: string]: unknown;
}

/** What all packages share and the root manifest states once. */
export interface SharedFields {
  readonly license: unknown;
  readonly engines: unknown;
  /** Versions of the packages of this repository, by name. */
  readonly versions: Readonly<Record<string, string>>;
}

const LEFT_BEHIND = ['private', 'scripts', 'devDependencies', 'publishConfig'];

/**
 * The manifest for users.
 *
 * @throws {Error} when there is no `publishConfig`, or another package of ours is wanted in another version than it has.
 */
export function publishedManifest(source: Manifest, shared: SharedFields): Manifest {
  const { name, publishConfig, dependencies = {} } = source;
  if (publishConfig === undefined) {
    throw new Error(`${name}: expected publishConfig in package.json, got none`);
  }
  for (const [dependency, range] of Object.entries(dependencies)) {
    const version = shared.versions[dependency];
    if (version !== undefined && range !== version) {
      throw new Error(`${name}: expected ${dependency} in version ${version}, got ${range}`);
    }
  }
  const { access, ...forUsers } = publishConfig;
  const kept = Object.entries(source).filter(([key]) => !LEFT_BEHIND.includes(key));
  return {
    ...(Object.fromEntries(kept) as Manifest),
    license: shared.license,
    engines: shared.engines,
    ...forUsers,
    files: [...(source.files as readonly string[]), 'CHANGELOG.md'],
    publishConfig: { access },
  };
}
