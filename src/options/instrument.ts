// Checks of the options of `instrument` in `forelog/otel`.

import { mustBe, whileReading } from '../errors.js'
import { flag, known } from './check.js'

const instrumentNames = new Set(['meter', 'attributes', 'histograms'])

function isMeter(meter: unknown): boolean {
  try {
    return typeof (meter as { addBatchObservableCallback?: unknown } | undefined)?.addBatchObservableCallback === 'function'
  } catch (error) {
    throw whileReading('options.meter', 'instrument', error)
  }
}

/** Checks the options of `forelog/otel`. The types of OpenTelemetry must not be needed here, so the caller casts the result. */
export function checkInstrument(options: unknown): { meter: unknown; attributes: unknown; histograms: boolean } {
  const { meter, attributes, ...fields } = known(options, instrumentNames, 'instrument')
  if (!isMeter(meter)) throw mustBe('options.meter', 'an OpenTelemetry Meter', meter, 'instrument')
  if (attributes !== undefined && (typeof attributes !== 'object' || attributes === null)) {
    throw mustBe('options.attributes', 'an object', attributes, 'instrument')
  }
  return { meter, attributes, histograms: flag(fields, 'histograms', 'instrument') === true }
}
