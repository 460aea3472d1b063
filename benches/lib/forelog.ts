/** The package as its users import it. A type alone: a measured process imports the built package by `entry`. */
export type Forelog = typeof import('../../src/index.js')
export type { AppendableBytes, Wal, WalRecord } from '../../src/index.js'
