/**
 * `/v1/devices/:device/config`: what devices are set to from afar, and what they made of it (docs/spec/remote-config.md).
 * Reading needs scope read, setting scope config.
 */
import { checkEdgeDefinition, formatEdgeProblem } from '@fieldproof/compute/edge-definition';
import {
  checkWishes,
  formatWishProblem,
  MAX_LIFE_MS,
  type Wishes,
} from '@fieldproof/protocol/desired-state';
import { isDeviceIdText } from '@fieldproof/protocol/topics';
import {
  type DeviceConfig,
  type IssuedState,
  NOT_SENT,
  refuseMistakes,
} from '../../device-config/config-desk.ts';
import type { DeviceConfigService } from '../../device-config/device-config.ts';
import { AnalyticsError } from '../../errors.ts';
import { holderOf } from '../auth.ts';
import type { RouteGroup } from '../context.ts';
import type { DeviceViews } from '../device-view.ts';
import {
  BEARER,
  EXAMPLE_DEVICE,
  type JsonSchema,
  jsonResponse,
  nullable,
  objectOf,
  problemResponses,
  UNIX_MS,
} from '../schemas.ts';

/** Thirty days. */
const DEFAULT_LIFE_MS = 30 * 86_400_000;
const MIN_LIFE_MS = 60_000;

const WISHES: JsonSchema = {
  type: 'object',
  description:
    'wanted: profiles and profile/metric; intervals: ms by profile; edge: definition by profile/metric; preferences: sealEveryMs, heartbeatMs',
};

const REPORT = objectOf({
  outcome: { type: 'string', enum: ['applied', 'refused', 'rolled-back', 'expired'] },
  atMs: UNIX_MS,
  entry: { type: 'integer', description: 'index in the evidence log' },
  code: nullable('string'),
  reasons: { type: 'array', items: { type: 'string' } },
  more: { type: 'integer', description: 'reasons that did not fit' },
  inForce: { type: 'integer', description: 'version in force after it; 0: as its owner has it' },
});

const STATE = objectOf({
  version: { type: 'integer' },
  id: { type: 'string' },
  digest: { type: 'string', description: 'SHA-256 of the payload, hex' },
  issuedMs: UNIX_MS,
  expiresMs: UNIX_MS,
  by: { type: 'string', description: 'name of the token' },
  standing: {
    type: 'string',
    enum: ['waiting', 'applied', 'refused', 'rolled-back', 'expired', 'replaced'],
  },
  wishes: WISHES,
  reports: { type: 'array', items: REPORT },
});

const DELIVERY = objectOf({
  attempts: { type: 'integer' },
  lastMs: nullable('number'),
  connected: nullable('boolean', { description: 'whether the device was, at the last attempt' }),
  problem: nullable('object'),
});

const CONFIG = objectOf({
  nowMs: UNIX_MS,
  device: { type: 'string' },
  wanted: { anyOf: [STATE, { type: 'null' }], description: 'the newest that was issued' },
  inForce: {
    type: ['integer', 'null'],
    description: 'version that the device last said is in force; 0: none, null: it said nothing',
  },
  delivery: DELIVERY,
});

const HISTORY = objectOf({
  nowMs: UNIX_MS,
  device: { type: 'string' },
  states: {
    type: 'array',
    items: { ...STATE, required: undefined, description: 'and payload, base64url' },
  },
});

const EXAMPLE_STATE = {
  version: 4,
  id: '961902664138bfda9660c847416b561e',
  digest: 'aa7fb4829d41c6ac5918b00a9288990e66e443850a6f5bfb0dfb02549dfbb969',
  issuedMs: 1795262400000,
  expiresMs: 1797854400000,
  by: 'admin',
  standing: 'applied',
  wishes: { intervals: { air: 30000 } },
  reports: [
    {
      ...{ outcome: 'applied', atMs: 1795262401000, entry: 812, code: null, reasons: [] },
      ...{ more: 0, inForce: 4 },
    },
  ],
};

const EXAMPLE = {
  nowMs: 1795262460000,
  device: EXAMPLE_DEVICE,
  wanted: EXAMPLE_STATE,
  inForce: 4,
  delivery: { attempts: 1, lastMs: 1795262400000, connected: true, problem: null },
};

interface Body extends Wishes {
  readonly expiresInMs?: number;
  readonly ifVersion?: number;
}

interface OfDevice {
  readonly device: string;
}

/** The route group; without a service nothing was issued, and nothing can be. */
export function deviceConfigRoutes(service: DeviceConfigService | undefined): RouteGroup {
  return ({ requireScope, views, clock }) => {
    const open = (): DeviceConfigService => {
      if (service !== undefined) return service;
      throw new AnalyticsError(
        'ERR_CONFIG_UNAVAILABLE',
        'control: has no broker or no control key',
      );
    };
    const of = (device: string): DeviceConfig =>
      service?.desk.of(device) ?? { device, states: [], inForce: null, delivery: NOT_SENT };
    const params = objectOf({ device: { type: 'string', minLength: 1, maxLength: 64 } });
    const common = { tags: ['devices'], security: BEARER, params };
    return async (app) => {
      app.get<{ Params: OfDevice }>(
        '/v1/devices/:device/config',
        {
          onRequest: requireScope('read'),
          schema: {
            ...common,
            summary: 'What a device is set to, and what it made of it',
            response: {
              200: jsonResponse('The newest state', CONFIG, EXAMPLE),
              ...problemResponses(400, 401, 403, 503),
            },
          },
        },
        async ({ params: { device } }) => view(of(device), clock()),
      );
      app.get<{ Params: OfDevice }>(
        '/v1/devices/:device/config/history',
        {
          onRequest: requireScope('read'),
          schema: {
            ...common,
            summary: 'All that was issued to a device, by whom, with its reports; newest first',
            response: {
              200: jsonResponse('Newest first', HISTORY, {
                nowMs: EXAMPLE.nowMs,
                device: EXAMPLE_DEVICE,
                states: [{ ...EXAMPLE_STATE, payload: 'qWJpZFCW…' }],
              }),
              ...problemResponses(400, 401, 403, 503),
            },
          },
        },
        async ({ params: { device } }) => {
          const { states } = of(device);
          const shown = states.map((state) => ({ ...stateView(state), payload: state.payload }));
          return { nowMs: clock(), device, states: shown };
        },
      );
      app.put<{ Params: OfDevice; Body: Body }>(
        '/v1/devices/:device/config',
        {
          onRequest: requireScope('config'),
          schema: {
            ...common,
            summary: 'Set a device from afar; it takes the place of what was set before',
            body: {
              type: 'object',
              properties: {
                expiresInMs: {
                  ...{ type: 'integer', minimum: MIN_LIFE_MS, maximum: MAX_LIFE_MS },
                  default: DEFAULT_LIFE_MS,
                },
                ifVersion: {
                  ...{ type: 'integer', minimum: 0 },
                  description: 'newest version that was issued as far as you know, 0 for none',
                },
              },
              examples: [{ intervals: { air: 30000 }, expiresInMs: DEFAULT_LIFE_MS }],
            },
            response: {
              200: jsonResponse(
                'Issued; `wanted.standing` says what became of it',
                CONFIG,
                EXAMPLE,
              ),
              ...problemResponses(400, 401, 403, 404, 409, 413, 415, 503),
            },
          },
        },
        async (request) => {
          const { desk, listen } = open();
          const { device } = request.params;
          const { expiresInMs = DEFAULT_LIFE_MS, ifVersion, ...wishes } = request.body;
          refuseMistakes(mistakesIn(wishes));
          await requireDevice(device, views);
          await listen();
          const by = holderOf(request);
          const expiresMs = Math.floor(clock()) + expiresInMs;
          return view(await desk.issue({ device, wishes, expiresMs, by, ifVersion }), clock());
        },
      );
    };
  };
}

/** All mistakes of shape and of edge functions; what the device has is for the device to judge. */
function mistakesIn(wishes: Wishes): readonly string[] {
  const mistakes = checkWishes(wishes).map(formatWishProblem);
  for (const [stream, text] of Object.entries(wishes.edge ?? {})) {
    if (typeof text !== 'string') continue;
    for (const problem of checkEdgeDefinition(text)) {
      mistakes.push(`edge.${stream}: ${formatEdgeProblem(problem)}`);
    }
  }
  return mistakes;
}

async function requireDevice(device: string, views: DeviceViews): Promise<void> {
  const { devices, broker } = await views.list();
  const isKnown = devices.some((each) => each.device === device);
  if (isDeviceIdText(device) && (isKnown || !broker.ok)) return;
  throw new AnalyticsError('ERR_CONFIG_DEVICE', `device ${device.slice(0, 64)}: not known`);
}

function view({ device, states, inForce, delivery }: DeviceConfig, nowMs: number) {
  const [newest] = states;
  const wanted = newest === undefined ? null : stateView(newest);
  return { nowMs, device, wanted, inForce, delivery };
}

function stateView({ version, id, digest, atMs, expiresMs, by, ...rest }: IssuedState) {
  const { standing, wishes, reports } = rest;
  return {
    ...{ version, id, digest, issuedMs: atMs, expiresMs, by, standing, wishes },
    reports: reports.map(({ outcome, atMs: reportedMs, entry, code, reasons, more, inForce }) => ({
      ...{ outcome, atMs: reportedMs, entry, code, reasons, more, inForce },
    })),
  };
}
