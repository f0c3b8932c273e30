/** What a TLS listener is made of, wherever it comes from. */

export interface TlsMaterial {
  /** Our own CA, or files of the operator's. */
  readonly source: 'own' | 'files';
  /** Certificate of the CA that devices pin, PEM. */
  readonly caPem: string;
  /** SHA-256 of its SubjectPublicKeyInfo. */
  readonly caHash: Uint8Array;
  /** Server certificate and those above it, up to the pinned CA's at least, PEM. */
  readonly cert: string;
  readonly key: string;
  /** When the first of them expires, Unix ms. */
  readonly expires: number;
  /** By which names and addresses others may be told to come, best first, besides those of this machine. */
  readonly names: readonly string[];
  /** Whether the certificate is for a name or an address. */
  readonly covers: (name: string) => boolean;
}
