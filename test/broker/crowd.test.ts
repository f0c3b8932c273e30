import { Crowd } from '@fieldproof/broker/mqtt/crowd';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';

test('it always knows the oldest of a largest share', () => {
  const step = fc.record({
    share: fc.constantFrom('a', 'b', 'c', 'd'),
    member: fc.nat(9),
    adds: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const crowd = new Crowd<number>();
      const model = new Map<string, number[]>();
      for (const { share, member, adds } of steps) {
        const members = model.get(share) ?? [];
        const isThere = members.includes(member);
        if (adds) {
          crowd.add(share, member);
          if (!isThere) model.set(share, [...members, member]);
        } else {
          expect(crowd.delete(share, member)).toBe(isThere);
          model.set(
            share,
            members.filter((each) => each !== member),
          );
        }
        const all = [...model.values()];
        expect(crowd.size).toBe(all.flat().length);
        expect(crowd.sizeOf(share)).toBe(model.get(share)!.length);
        expect(crowd.oldestOf(share)).toBe(model.get(share)![0]);
        const largest = Math.max(...all.map((each) => each.length));
        const oldest = all.filter((each) => each.length === largest).map(([first]) => first);
        expect(oldest).toContain(crowd.oldestOfLargest());
      }
    }),
  );
});
