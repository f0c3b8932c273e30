/** The large chart: mean as a line, minimum to maximum as a band around it (uPlot). */
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { longestStep } from './gaps.ts';
import { tickTexts } from './ticks.ts';

export interface ChartData {
  readonly timesMs: readonly number[];
  readonly mean: readonly number[];
  readonly min: readonly number[];
  readonly max: readonly number[];
  readonly fromMs: number;
  readonly toMs: number;
  /** Gaps of several buckets interrupt the line. */
  readonly bucketMs: number;
  /** SenML unit of the values. */
  readonly unit: string | null;
}

export interface Chart {
  draw(data: ChartData): void;
  destroy(): void;
}

/** What the pointer is at: an index into the data, or null when it is not over the chart. */
export type Pointed = (index: number | null) => void;

const HEIGHT = 300;
/** Up to so many points are marked each. */
const FEW = 40;

/** Axis labels by the width of a step, in uPlot's terms: 24 hours, dates as in RFC 3339. */
const TIME_LABELS: uPlot.Axis.Values = [
  [86_400, '{YYYY}-{MM}-{DD}', null, null, null, null, null, null, 1],
  [60, '{HH}:{mm}', '\n{YYYY}-{MM}-{DD}', null, '\n{YYYY}-{MM}-{DD}', null, null, null, 1],
  [1, '{HH}:{mm}:{ss}', '\n{YYYY}-{MM}-{DD}', null, '\n{YYYY}-{MM}-{DD}', null, null, null, 1],
];

/** A chart in `host`, as wide as it is; follows its size and the colour scheme. */
export function chart(host: HTMLElement, pointed: Pointed): Chart {
  let data: ChartData | null = null;
  let plot: uPlot | null = null;

  const rebuild = (): void => {
    plot?.destroy();
    if (data === null) return;
    plot = new uPlot(
      options(host, data, (u) => pointed(data === null ? null : indexOf(u, data))),
      aligned(data),
      host,
    );
  };
  const resized = new ResizeObserver(() => {
    plot?.setSize({ width: host.clientWidth, height: HEIGHT });
  });
  resized.observe(host);
  const scheme = matchMedia('(prefers-color-scheme: dark)');
  scheme.addEventListener('change', rebuild);

  return {
    draw: (next) => {
      data = next;
      if (plot === null) return rebuild();
      plot.setData(aligned(next), false);
      plot.setScale('x', { min: next.fromMs / 1000, max: next.toMs / 1000 });
    },
    destroy: () => {
      resized.disconnect();
      scheme.removeEventListener('change', rebuild);
      plot?.destroy();
      plot = null;
    },
  };
}

/** Columns for uPlot; a point without values stands in every gap, so that no line crosses it. */
function aligned({ timesMs, mean, min, max, bucketMs }: ChartData): uPlot.AlignedData {
  const columns: [number[], (number | null)[], (number | null)[], (number | null)[]] = [
    [],
    [],
    [],
    [],
  ];
  const longest = longestStep(timesMs, bucketMs);
  for (let i = 0; i < timesMs.length; i++) {
    const before = timesMs[i - 1];
    if (before !== undefined && timesMs[i]! - before > longest) {
      columns[0].push((before + timesMs[i]!) / 2000);
      for (const column of [columns[1], columns[2], columns[3]]) column.push(null);
    }
    columns[0].push(timesMs[i]! / 1000);
    columns[1].push(mean[i] ?? null);
    columns[2].push(max[i] ?? null);
    columns[3].push(min[i] ?? null);
  }
  return columns;
}

function options(host: HTMLElement, data: ChartData, moved: (u: uPlot) => void): uPlot.Options {
  const style = getComputedStyle(host);
  const color = (name: string) => style.getPropertyValue(name).trim();
  const font = `12px ${style.fontFamily}`;
  const axis = {
    ...{ stroke: color('--muted'), font },
    grid: { stroke: color('--line'), width: 1 },
    ticks: { stroke: color('--line'), width: 1, size: 4 },
  };
  return {
    width: host.clientWidth,
    height: HEIGHT,
    padding: [12, 8, 0, 0],
    legend: { show: false },
    cursor: {
      y: false,
      drag: { x: false, y: false },
      points: { size: 8, fill: color('--accent') },
    },
    scales: {
      x: {
        time: true,
        auto: false,
        range: (_u, min, max) => [min, max],
        min: data.fromMs / 1000,
        max: data.toMs / 1000,
      },
      y: { range: (_u, min, max) => padded(min, max) },
    },
    axes: [
      { ...axis, values: TIME_LABELS },
      { ...axis, size: axisSize, values: (_u, splits) => tickTexts(splits, data.unit) },
    ],
    series: [
      {},
      {
        ...{ stroke: color('--accent'), width: 2 },
        points: { show: true, size: 5, width: 0, fill: color('--accent'), filter: pointsShown },
      },
      { stroke: 'transparent', points: { show: false } },
      { stroke: 'transparent', points: { show: false } },
    ],
    bands: [{ series: [2, 3], fill: color('--band') }],
    hooks: {
      setCursor: [moved],
    },
  };
}

/** The data's own index at the cursor: the inserted gap points are not counted. */
function indexOf(u: uPlot, data: ChartData): number | null {
  const index = u.cursor.idx;
  if (index === null || index === undefined) return null;
  const seconds = u.data[0][index];
  const found = seconds === undefined ? -1 : data.timesMs.indexOf(Math.round(seconds * 1000));
  return found < 0 ? null : found;
}

/** Room for the longest label, and a fixed least, so that the plot does not jump from one refresh to the next. */
function axisSize(_u: uPlot, texts: readonly string[] | null): number {
  const longest = (texts ?? []).reduce((length, text) => Math.max(length, text.length), 0);
  return Math.max(48, 20 + Math.ceil(longest * 6.8));
}

/** A dot where no line leads to, and at every point while they are few, as of windows. */
function pointsShown(u: uPlot, series: number): number[] | null {
  const column = Array.from(u.data[series] ?? []);
  const all = [...column.keys()].filter((i) => column[i] != null);
  if (all.length <= FEW) return all;
  return all.filter((i) => column[i - 1] == null && column[i + 1] == null);
}

/** Some air above and below, not below zero where no value is; a constant gets a range around it. */
function padded(min: number | null, max: number | null): [number, number] {
  if (min === null || max === null) return [0, 1];
  const air = max > min ? (max - min) * 0.08 : Math.abs(max) * 0.05 || 1;
  return [min >= 0 ? Math.max(0, min - air) : min - air, max + air];
}
