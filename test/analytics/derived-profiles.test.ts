import {
  derivedFrom,
  derivedHeading,
  derivedMetric,
  rawProfiles,
} from '@fieldproof/analytics/derived-profiles';
import { describe, expect, test } from '@jest/globals';

describe('what a device sends and what was derived from it', () => {
  test('the birth decides, and names where it is unknown', () => {
    const names = ['air', 'air_1m', 'air_quality', 'lab'];
    expect([...rawProfiles(names, ['air', 'air_quality'])]).toEqual(['air', 'air_quality']);
    expect([...rawProfiles(names, null)]).toEqual(['air', 'lab']);
    expect([...rawProfiles(names, [])]).toEqual(['air', 'lab']);
    expect([...rawProfiles([], ['air'])]).toEqual([]);
  });

  test('the longest name that is extended is the base', () => {
    expect(derivedFrom('air_1m_1h', ['air', 'air_1m'])).toBe('air_1m');
    expect(derivedFrom('air', ['air'])).toBeNull();
    expect(derivedFrom('air_', ['air'])).toBeNull();
    expect(derivedFrom('airport', ['air'])).toBeNull();
  });

  test('metrics and headings', () => {
    expect(derivedMetric('load_1m_mean')).toEqual({ metric: 'load_1m', statistic: 'mean' });
    expect([derivedMetric('version'), derivedMetric('_mean')]).toEqual([null, null]);
    expect(derivedHeading('air_1m', 'air')).toBe('Windows · 1 min');
    expect(derivedHeading('air_10s', 'air')).toBe('Windows · 10 s');
    expect(derivedHeading('air_forecast', 'air')).toBe('Derived · forecast');
  });
});
