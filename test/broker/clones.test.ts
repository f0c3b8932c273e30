import { type BootRights, CloneWatch, type FreshBoots } from '@fieldproof/broker/gate/clones';
import { expect, test } from '@jest/globals';

const A = { bootCounter: 1, bootSeed: 0xaaaaaaaa };
const B = { bootCounter: 2, bootSeed: 0xbbbbbbbb };
const C = { bootCounter: 3, bootSeed: 0xcccccccc };
const TWIN = { ...A, bootSeed: 1 };

function watchWith(
  rights: Partial<BootRights> = {},
  recorded: readonly (typeof A)[] = [],
): CloneWatch {
  const rightsOf = () => ({ quarantined: [], released: [], ...rights });
  return new CloneWatch({ recordedBoots: () => recorded, rightsOf });
}

/** The clones that births of these boots show, one after the other. */
function clonesOf(boots: readonly (typeof A)[], watch = watchWith()) {
  return boots.flatMap((boot) => {
    watch.recorded('d', boot);
    const { clone } = watch.freshBirth('d', boot);
    return clone === null ? [] : [clone];
  });
}

test('births that alternate A, B, A show that B is a clone, once', () => {
  expect(clonesOf([A, B, A])).toEqual([{ boot: B, against: A }]);
  expect(clonesOf([A, A, B, B, A, A])).toEqual([{ boot: B, against: A }]);
});

test('alternating that goes on is shown each time: B may have been released', () => {
  expect(clonesOf([A, B, A, B, A])).toEqual([
    { boot: B, against: A },
    { boot: B, against: A },
  ]);
});

test('restarts and reconnects show none', () => {
  expect(clonesOf([A, A, B, B, C, C])).toEqual([]);
});

test('births of other devices are no part of it', () => {
  const watch = watchWith();
  watch.freshBirth('d', A);
  watch.freshBirth('e', B);
  expect(watch.freshBirth('d', A).clone).toBeNull();
});

test('the births of an earlier run count', () => {
  let kept: FreshBoots = [];
  for (const boot of [A, B]) {
    const watch = watchWith();
    watch.restore('d', kept);
    kept = watch.freshBirth('d', boot).fresh ?? kept;
  }
  const watch = watchWith();
  watch.restore('d', kept);
  expect(watch.freshBirth('d', B)).toEqual({ fresh: null, clone: null });
  expect(watch.freshBirth('d', A).clone).toEqual({ boot: B, against: A });
});

test('a backlog of an older boot is no clone', () => {
  const watch = watchWith();
  clonesOf([A, B], watch);
  expect(watch.recorded('d', A)).toBeNull();
  expect(watch.isCloned('d', A)).toBe(false);
  expect(watch.isCloned('d', B)).toBe(false);
});

test('the same counter with another seed is one, also after a restart', () => {
  const watch = watchWith();
  watch.recorded('d', A);
  expect(watch.isCloned('d', TWIN)).toBe(true);
  const restarted = watchWith({}, [A, TWIN]);
  expect(restarted.conflict('d', TWIN)).toEqual({ boot: TWIN, against: A });
  expect(restarted.isCloned('d', A)).toBe(false);
});

test('two boots of one counter on their way at once: the one recorded first stays', () => {
  const watch = watchWith();
  expect([watch.isCloned('d', A), watch.isCloned('d', TWIN)]).toEqual([false, false]);
  expect(watch.recorded('d', A)).toBeNull();
  expect(watch.recorded('d', TWIN)).toEqual({ boot: TWIN, against: A });
});

test('a boot that was judged and not recorded is not the first of its counter', () => {
  const watch = watchWith();
  watch.isCloned('d', A);
  expect(watch.recorded('d', TWIN)).toBeNull();
  expect(watch.isCloned('d', A)).toBe(true);
});

test('what the registry has quarantined is refused, and what it has released is not', () => {
  expect(watchWith({ quarantined: [B] }).isCloned('d', B)).toBe(true);
  const watch = watchWith({ released: [TWIN] }, [A]);
  expect(watch.isCloned('d', TWIN)).toBe(false);
  expect(watch.isCloned('d', { ...A, bootSeed: 2 })).toBe(true);
});
