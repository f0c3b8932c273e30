/**
 * The part of the Reflect metadata proposal that the dependency container of @peculiar/x509 asks for while it loads.
 * Import it before that package. An implementation that is there already is left alone.
 */

type Target = object;

interface ReflectMetadata {
  getMetadata?: (key: unknown, target: Target) => unknown;
  getOwnMetadata?: (key: unknown, target: Target) => unknown;
  hasMetadata?: (key: unknown, target: Target) => boolean;
  hasOwnMetadata?: (key: unknown, target: Target) => boolean;
  defineMetadata?: (key: unknown, value: unknown, target: Target) => void;
}

const reflect = Reflect as unknown as ReflectMetadata;

if (reflect.getMetadata === undefined) {
  const metadata = new WeakMap<Target, Map<unknown, unknown>>();
  const own = (key: unknown, target: Target) => metadata.get(target)?.get(key);
  const inherited = (key: unknown, target: Target): unknown => {
    for (let at: Target | null = target; at !== null; at = Object.getPrototypeOf(at)) {
      const value = own(key, at);
      if (value !== undefined) return value;
    }
    return undefined;
  };
  reflect.getOwnMetadata = own;
  reflect.hasOwnMetadata = (key, target) => own(key, target) !== undefined;
  reflect.getMetadata = inherited;
  reflect.hasMetadata = (key, target) => inherited(key, target) !== undefined;
  reflect.defineMetadata = (key, value, target) => {
    const map = metadata.get(target) ?? new Map<unknown, unknown>();
    map.set(key, value);
    metadata.set(target, map);
  };
}
