/** Temporal's stand-in for a worker, silent about the failures that tests provoke. */
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';

const logger = new DefaultLogger('ERROR');

export function environment(): MockActivityEnvironment {
  return new MockActivityEnvironment({}, { logger });
}
