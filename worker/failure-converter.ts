/**
 * Failures with their message and stack inside a payload, so that a codec encrypts them: outside it they name topics, groups and brokers. Part of
 * the workflow bundle where payloads are encrypted.
 */
import { DefaultFailureConverter } from '@temporalio/common';

export const failureConverter = new DefaultFailureConverter({ encodeCommonAttributes: true });
