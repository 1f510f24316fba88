/** A worker as its own process, so that a test can kill it; its activities answer as the scenarios do. */
import { pino } from 'pino';
import { startWorker } from '../../../worker/worker.ts';
import { Scenarios } from '../../workflows/support/scenario.ts';

const log = pino({ level: 'info' }, pino.destination(2));
await startWorker({ activities: new Scenarios().activities(), log });
