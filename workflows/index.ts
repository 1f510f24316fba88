/** The workflow bundle's entry: what it exports is what a worker can run. */
export { cutover } from './cutover.ts';
