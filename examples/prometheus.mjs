// A small service whose log Prometheus watches: what is posted to it is durable when it answers, and
// GET /metrics gives the log's figures in Prometheus' text format.
//
//     node examples/prometheus.mjs [DIRECTORY] [PORT]
//
//     curl --data 'an event' localhost:9464       # answers with the position
//     curl localhost:9464/metrics
//
// examples/grafana/forelog.json is a dashboard for it.

import { createServer } from 'node:http'
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { Wal } from '../index.js' // in your project: from 'forelog'

// Base units, and names that end in what is counted, as Prometheus has them: seconds and bytes.
const METRICS = [
  ['counter', 'appends_total', 'Records accepted one by one.', (s) => s.appends],
  ['counter', 'batches_total', 'Batches accepted.', (s) => s.batches],
  ['counter', 'record_bytes_total', 'Bytes of all records accepted.', (s) => s.bytes],
  ['counter', 'commits_total', 'Groups of appends committed.', (s) => s.commits],
  ['counter', 'fsyncs_total', 'Fsyncs of everything.', (s) => s.fsyncs],
  ['counter', 'rolls_total', 'Segments started.', (s) => s.rolls],
  ['counter', 'removed_segments_total', 'Segments removed by truncation.', (s) => s.removedSegments],
  ['counter', 'future_segments_total', 'Segments met whose stamps are from the future.', (s) => s.futureSegments],
  ['counter', 'written_bytes_total', 'Bytes written to segments, framing included.', (s) => s.writtenBytes],
  ['counter', 'dropped_events_total', 'Events lost because an event loop was too busy to take them.', (s) => s.droppedEvents],
  ['counter', 'scrubs_total', 'Scrubs that came to their end.', (s) => s.scrub.runs],
  ['counter', 'scrubbed_bytes_total', 'Bytes of good frames that scrubs have read.', (s) => s.scrub.bytes],
  ['counter', 'scrub_problems_total', 'Problems that scrubs have found.', (s) => s.scrub.problems],
  ['gauge', 'last_scrub_timestamp_seconds', 'When the last scrub ended; 0 before.', (s) => (s.scrub.finishedAt ?? 0) / 1e3],
  ['gauge', 'pending_bytes', 'Bytes accepted and not yet acknowledged.', (s) => s.pendingBytes],
  ['gauge', 'segments', 'Segments of the log.', (s) => s.segments],
  ['gauge', 'disk_bytes', 'Bytes that the segment files take.', (s) => s.diskBytes],
  ['gauge', 'allocated_bytes', 'Bytes of the disk that all files of the log occupy.', (s) => s.allocatedBytes],
  ['gauge', 'used_bytes', 'Bytes of the segments that are in use.', (s) => s.usedBytes],
  ['gauge', 'active_bytes', 'Bytes of the active segment that are used.', (s) => s.activeBytes],
  ['gauge', 'active_capacity_bytes', "Size of the active segment's file.", (s) => s.activeCapacity],
  ['gauge', 'readers', 'Readers that still have something to read.', (s) => s.readers],
  ['gauge', 'followers', 'Readers that wait at the end of the log.', (s) => s.followers],
  ['gauge', 'poisoned', '1 once an fsync has failed, until the log is reopened.', (s) => Number(s.poisoned)],
  ['gauge', 'detached', '1 once the directory is not at its path any more, until the log is reopened.', (s) => Number(s.detached)],
  ['gauge', 'recovery_seconds', 'Duration of opening.', (s) => s.recovery.durationMs / 1e3],
  ['gauge', 'recovery_records', 'Records found by opening in the part that it scanned.', (s) => s.recovery.records],
  ['gauge', 'recovery_carried_records', 'Records carried over into a new segment by opening.', (s) => s.recovery.carried],
  ['gauge', 'first_position', 'First position of the log.', (_, wal) => wal.firstPosition],
  ['gauge', 'acknowledged_position', 'Last position acknowledged.', (_, wal) => wal.acknowledgedPosition],
  ['gauge', 'durable_position', 'Last position that survives power loss.', (_, wal) => wal.durablePosition],
]

// Quantiles are since opening; for those of the last minutes divide the rates of _sum and _count.
const SUMMARIES = [
  ['commit_records', 'Records per commit.', 1, (s) => s.group],
  ['commit_duration_seconds', 'Duration of commits.', 1e-6, (s) => s.commitUs],
  ['commit_wait_seconds', "From a commit's oldest record until it was done.", 1e-6, (s) => s.waitUs],
  ['fsync_duration_seconds', 'Duration of fsyncs of segments.', 1e-6, (s) => s.fsyncUs],
]

const label = (value) => value.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n')

/** The figures of several logs in Prometheus' text format, version 0.0.4. */
function exposition(wals) {
  const logs = wals.map((wal) => ({ wal, stats: wal.stats(), dir: `dir="${label(wal.dir)}"` }))
  const lines = []
  for (const [type, name, help, read] of METRICS) {
    lines.push(`# HELP forelog_${name} ${help}`, `# TYPE forelog_${name} ${type}`)
    for (const { wal, stats, dir } of logs) lines.push(`forelog_${name}{${dir}} ${read(stats, wal)}`)
  }
  for (const [name, help, unit, read] of SUMMARIES) {
    lines.push(`# HELP forelog_${name} ${help}`, `# TYPE forelog_${name} summary`)
    for (const { stats, dir } of logs) {
      const { count, sum, p50, p90, p99, p999 } = read(stats)
      for (const [quantile, value] of Object.entries({ 0.5: p50, 0.9: p90, 0.99: p99, 0.999: p999 })) {
        lines.push(`forelog_${name}{${dir},quantile="${quantile}"} ${count === 0 ? NaN : value * unit}`)
      }
      lines.push(`forelog_${name}_sum{${dir}} ${sum * unit}`, `forelog_${name}_count{${dir}} ${count}`)
    }
  }
  return `${lines.join('\n')}\n`
}

async function body(request) {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  return Buffer.concat(chunks)
}

const [, , given, port = 9464] = process.argv
const dir = given ?? (await mkdtemp(path.join(os.tmpdir(), 'forelog-example-')))
const wal = await Wal.open(dir, { segmentBytes: 16 << 20, retention: { maxBytes: 256 << 20 } })

const server = createServer(async (request, response) => {
  const answer = (status, type, text) => response.writeHead(status, { 'content-type': type }).end(text)
  try {
    if (request.method === 'POST') return answer(200, 'text/plain', `${await wal.append(await body(request))}\n`)
    if (request.url === '/metrics') return answer(200, 'text/plain; version=0.0.4; charset=utf-8', exposition([wal]))
    return answer(404, 'text/plain', 'POST anything, or GET /metrics\n')
  } catch (error) {
    return answer(503, 'text/plain', `${error.code ?? error.message}\n`)
  }
})
server.listen(Number(port), '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}/metrics`))

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    server.close(async () => {
      await wal.close()
      if (given === undefined) await rm(dir, { recursive: true })
    })
    server.closeAllConnections()
  })
}
