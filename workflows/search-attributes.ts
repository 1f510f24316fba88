/** The typed search attributes of a migration; a worker registers what the server lacks. Never secrets. */
import { defineSearchAttributeKey } from '@temporalio/common';
import { searchAttributes } from '../contract/status.ts';

export const migrationStep = defineSearchAttributeKey(searchAttributes.step, 'KEYWORD');
export const sourceCluster = defineSearchAttributeKey(searchAttributes.sourceCluster, 'KEYWORD');
export const targetCluster = defineSearchAttributeKey(searchAttributes.targetCluster, 'KEYWORD');
export const awaitingApproval = defineSearchAttributeKey(searchAttributes.awaitingApproval, 'BOOL');
export const sourceOfTruth = defineSearchAttributeKey(searchAttributes.sourceOfTruth, 'KEYWORD_LIST');

export const searchAttributeKeys = [migrationStep, sourceCluster, targetCluster, awaitingApproval, sourceOfTruth];
