// Memory for a record buffer without native code.

import { BUFFER_WORDS } from '../../src/native/wire.js'

/** The words of a record buffer and one arena. */
export const bufferMemory = (): Uint8Array[] => [new Uint8Array(BUFFER_WORDS * 4), new Uint8Array(384 << 10)]
