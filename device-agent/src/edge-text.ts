/** Checks texts of edge functions; what reads them is loaded when there is one. */

/** Gives a check that returns all mistakes of a text. */
export async function edgeTextCheck(
  edge: Readonly<Record<string, string>> | undefined,
): Promise<(text: string) => readonly string[]> {
  if (edge === undefined || Object.keys(edge).length === 0) return () => [];
  const { checkEdgeDefinition, formatEdgeProblem } = await import(
    '@fieldproof/compute/edge-definition'
  );
  return (text) => checkEdgeDefinition(text).map(formatEdgeProblem);
}
