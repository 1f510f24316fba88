/** Registers the search attributes that the server lacks, or says the commands that do. */
import type { NativeConnection } from '@temporalio/worker';
import type { Logger } from 'pino';
import { CutoverError } from '../contract/errors.ts';
import { searchAttributeKeys } from '../workflows/search-attributes.ts';

/** Temporal's numbers (temporal.api.enums.v1.IndexedValueType) and the CLI's words for them. */
const types = {
  KEYWORD: { value: 2, word: 'Keyword' },
  BOOL: { value: 5, word: 'Bool' },
  KEYWORD_LIST: { value: 7, word: 'KeywordList' },
} as const;

/** A workflow task that sets an unknown attribute fails for ever, so a worker makes sure first. */
export async function registerSearchAttributes(
  connection: NativeConnection,
  namespace: string,
  log: Logger,
): Promise<void> {
  const wanted = searchAttributeKeys.map((key) => ({ name: key.name, ...types[key.type as keyof typeof types] }));
  let missing = wanted;
  try {
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
    missing = wanted.filter((attribute) => customAttributes?.[attribute.name] === undefined);
    if (missing.length === 0) return;
    const searchAttributes = Object.fromEntries(missing.map(({ name, value }) => [name, value]));
    await connection.operatorService.addSearchAttributes({ namespace, searchAttributes });
    log.info({ namespace, registered: missing.map(({ name }) => name) }, 'search attributes registered');
  } catch (error) {
    // Another worker may have been faster; a namespace in the cloud does not answer here at all.
    const after = await connection.workflowService
      .getSearchAttributes({})
      .then(({ keys }) => keys ?? {})
      .catch(() => ({}) as Record<string, unknown>);
    missing = missing.filter(({ name }) => after[name] === undefined);
    if (missing.length === 0) return;
    const commands = missing.map(
      ({ name, word }) =>
        `temporal operator search-attribute create --namespace ${namespace} --name ${name} --type ${word}`,
    );
    throw new CutoverError(
      'TEMPORAL_UNREACHABLE',
      {
        what: 'search attributes are missing and could not be registered',
        where: `namespace ${namespace}`,
        found: (error as Error).message,
        next: `Have somebody with the rights run: ${commands.join(' && ')}`,
      },
      { cause: error },
    );
  }
}
