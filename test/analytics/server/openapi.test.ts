import { buildDashboard } from '@fieldproof/analytics/server/dashboard-assets';
import { describe, expect, test } from '@jest/globals';
import { controlUnderTest } from './control-under-test.ts';

interface Operation {
  readonly summary?: string;
  readonly security?: readonly unknown[];
  readonly responses: Record<string, { readonly content?: Record<string, unknown> }>;
}

async function documented() {
  const dashboard = await buildDashboard();
  const under = await controlUnderTest([], { dashboard });
  const response = await under.call(null, '/v1/openapi.json');
  const document = response.json() as {
    openapi: string;
    paths: Record<string, Record<string, Operation>>;
  };
  return { ...under, document };
}

describe('the API document', () => {
  test('is OpenAPI 3.1 and lists every route', async () => {
    const { document, app } = await documented();
    expect(document.openapi).toBe('3.1.0');
    const paths = Object.keys(document.paths);
    expect(paths.sort()).toEqual(
      [
        ...['/', '/assets/{file}', '/favicon.svg', '/healthz', '/readyz', '/v1/devices'],
        ...['/v1/devices/{device}/config', '/v1/devices/{device}/config/history'],
        ...[
          '/v1/latest',
          '/v1/openapi.json',
          '/v1/projection/{name}',
          '/v1/query',
          '/v1/status',
          '/v1/tokens',
        ],
        ...['/v1/tokens/{name}', '/v1/write', '/write'],
      ].sort(),
    );
    for (const [path, operations] of Object.entries(document.paths)) {
      for (const method of Object.keys(operations)) {
        const url = path.replaceAll(/\{(\w+)\}/g, ':$1');
        expect(app.hasRoute({ method: method.toUpperCase() as 'GET', url })).toBe(true);
      }
    }
  });

  test('every operation has a summary, its security and problem responses', async () => {
    const { document } = await documented();
    for (const operations of Object.values(document.paths)) {
      for (const { summary, security, responses } of Object.values(operations)) {
        expect(summary).toEqual(expect.any(String));
        expect(security).toBeDefined();
        const problems = Object.entries(responses).filter(([status]) => Number(status) >= 400);
        expect(problems.length).toBeGreaterThan(0);
        for (const [, { content }] of problems) {
          expect(Object.keys(content ?? {})).toEqual(['application/problem+json']);
        }
        if (security!.length > 0) expect(Object.keys(responses)).toContain('401');
      }
    }
  });

  test('what the document calls protected is refused without a token', async () => {
    const { document, call } = await documented();
    for (const [path, operations] of Object.entries(document.paths)) {
      for (const [method, { security }] of Object.entries(operations)) {
        const url = path.replace(/\{\w+\}/, 'x');
        const response = await call(null, url, { method: method.toUpperCase() as 'GET' });
        expect([path, response.statusCode === 401]).toEqual([path, security!.length > 0]);
      }
    }
  });
});

describe('security headers', () => {
  test('forbid inline script and frames, on every kind of answer', async () => {
    const { call } = await documented();
    for (const url of ['/', '/healthz', '/nothing', '/v1/latest']) {
      const { headers } = await call(null, url);
      const policy = String(headers['content-security-policy']);
      expect(policy).toContain("default-src 'none'");
      expect(policy).toContain("script-src 'self'");
      expect(policy).toContain("frame-ancestors 'none'");
      expect(policy).not.toContain('unsafe-inline');
      expect(headers['referrer-policy']).toBe('no-referrer');
      expect(headers['x-content-type-options']).toBe('nosniff');
    }
  });

  test('the page names its files by hash, and they may be kept', async () => {
    const { call } = await documented();
    const page = await call(null, '/');
    expect(page.headers['cache-control']).toBe('no-cache');
    const files = [...page.body.matchAll(/\/assets\/[^"]+/g)].map(([file]) => file);
    expect(files).toHaveLength(2);
    for (const file of files) {
      const { headers, statusCode } = await call(null, file);
      expect([statusCode, headers['cache-control']]).toEqual([
        ...[200, 'public, max-age=31536000, immutable'],
      ]);
    }
    expect(page.body).not.toMatch(/https?:\/\//);
  });
});
