import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BROKER_ERRORS, BrokerError, type BrokerErrorCode } from '@fieldproof/broker/errors';
import { problemOf, sendProblem } from '@fieldproof/broker/http/problem';
import { expect, test } from '@jest/globals';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { REPOSITORY } from '../support/services.ts';

/** Rows `| 401, … | codes |` of identity.md section 5.5. */
function specifiedStatus(): ReadonlyMap<string, number> {
  const text = readFileSync(join(REPOSITORY, 'docs/spec/identity.md'), 'utf8');
  const section = text.split('\n5.5. ')[1]!.split('\n## ')[0]!;
  return new Map(
    section
      .split('\n')
      .filter((line) => /^\| \d{3}/.test(line))
      .flatMap((line) =>
        [...line.matchAll(/`(ERR_[A-Z_]+)`/g)].map(
          ([, code]) => [code!, Number(line.slice(2, 5))] as const,
        ),
      ),
  );
}

test('every code of the broker has the HTTP status that the specification states', () => {
  const specified = specifiedStatus();
  expect(specified.size).toBeGreaterThan(10);
  for (const code of Object.keys(BROKER_ERRORS) as BrokerErrorCode[]) {
    const { status } = problemOf(new BrokerError(code, 'x: y'));
    expect([code, status]).toEqual([code, specified.get(code) ?? 400]);
  }
  for (const code of specified.keys()) {
    if (code !== 'ERR_TOO_LARGE') expect(Object.keys(BROKER_ERRORS)).toContain(code);
  }
});

test('what is not ours is an internal error without its message', () => {
  const problem = problemOf(new Error('password of the database: hunter2'));
  expect(problem).toMatchObject({ status: 500, code: 'ERR_INTERNAL' });
  expect(JSON.stringify(problem)).not.toContain('hunter2');
});

test('who asks while the broker starts is told so, and the log has no error of it; what fails is in the log', () => {
  const lines: string[] = [];
  const log = { debug: () => {}, error: (_: object, text: string) => lines.push(text) };
  const request = { log } as unknown as FastifyRequest;
  const sent: string[] = [];
  const reply = {
    header: () => reply,
    code: () => reply,
    send: (text: string) => sent.push(text),
  } as unknown as FastifyReply;
  sendProblem(new BrokerError('ERR_NOT_READY', 'broker: starting or stopping'), request, reply);
  expect(lines).toEqual([]);
  expect(JSON.parse(sent[0]!)).toMatchObject({ status: 503, code: 'ERR_NOT_READY' });
  sendProblem(new Error('lost'), request, reply);
  expect(lines).toEqual(['request failed']);
});
