/** How clusters.yaml names what is kept elsewhere. */
import { z } from 'zod';

/** A value kept elsewhere: an environment variable, or a file beside clusters.yaml. */
export const reference = z.union(
  [z.strictObject({ env: z.string().min(1) }), z.strictObject({ file: z.string().min(1) })],
  {
    error: 'a secret is not written here: `{ env: NAME }` or `{ file: path }`',
  },
);
export const plainOrReference = z.union([z.string().min(1), reference], {
  error: 'a text, `{ env: NAME }` or `{ file: path }`',
});
