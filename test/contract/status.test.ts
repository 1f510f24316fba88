import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { planSchema } from '../../contract/plan.ts';
import { gateNames, messageNames, searchAttributes, steps, taskQueues, workflowId } from '../../contract/status.ts';

describe('the words that scripts rely on', () => {
  it("name the steps in the design's order", () => {
    assert.deepEqual(steps, [
      'preflight',
      'prepare-target',
      'mirror',
      'drain-lag',
      'fence',
      'sync-offsets',
      'switch-producers',
      'switch-consumers',
      'verify',
      'finalize',
      'rollback',
    ]);
  });

  it('name the messages', () => {
    assert.deepEqual(messageNames, ['approve', 'reject', 'pause', 'resume', 'rollback', 'abort', 'decide', 'tune']);
  });

  it('name the workflow after its plan', () => {
    assert.equal(workflowId('orders'), 'cutover/orders');
  });

  it('name the search attributes and the task queues', () => {
    assert.deepEqual(Object.values(searchAttributes), [
      'MigrationStep',
      'SourceCluster',
      'TargetCluster',
      'AwaitingApproval',
      'SourceOfTruth',
    ]);
    assert.deepEqual(taskQueues, { control: 'kafka-cutover', mirror: 'kafka-cutover-mirror' });
  });
});

describe('gates', () => {
  it('are the same in the status and in the plan', () => {
    const { properties } = z.toJSONSchema(planSchema, { io: 'input' }) as unknown as {
      properties: { gates: { properties: object } };
    };
    assert.deepEqual(Object.keys(properties.gates.properties).sort(), [...gateNames].sort());
  });
});
