// When records were committed: what they say, and what is found by it.

import test, { type ExecutionContext } from 'ava'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { Wal, backup, restoreFrom, type WalRecord } from '../index.js'
import { forelog } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { collect, temporaryLog, values } from './helpers/log.js'
import { fixtures, unpack } from './helpers/unpack.js'
