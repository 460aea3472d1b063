package main

import (
	"fmt"
	"slices"
	"syscall"
	"time"
)

// The stopwatch of one run.
type meter struct {
	operations uint64
	begun      time.Time
	cpu        time.Duration
	limit      time.Duration
	latencies  []time.Duration
}

func startMeter(limit time.Duration) *meter {
	return &meter{begun: time.Now(), cpu: cpu(), limit: limit}
}

func (m *meter) isOver() bool {
	return time.Since(m.begun) > m.limit
}

// Counts the records of one operation, and takes its latency.
func (m *meter) time(records uint64, operation func() error) error {
	begun := time.Now()
	if err := operation(); err != nil {
		return err
	}
	m.latencies = append(m.latencies, time.Since(begun))
	m.operations += records
	return nil
}

// Adds what a goroutine counted.
func (m *meter) add(other *meter) {
	m.operations += other.operations
	m.latencies = append(m.latencies, other.latencies...)
}

func (m *meter) stop() string {
	return m.stopAfter(time.Since(m.begun))
}

// Times are in seconds.
func (m *meter) stopAfter(elapsed time.Duration) string {
	used := cpu() - m.cpu
	latencies := ""
	if count := len(m.latencies); count > 0 {
		slices.Sort(m.latencies)
		micros := func(quantile float64) float64 { return float64(m.latencies[int(quantile*float64(count-1))]) / 1000 }
		latencies = fmt.Sprintf(`,"p50Micros":%f,"p99Micros":%f`, micros(0.5), micros(0.99))
	}
	return fmt.Sprintf(`{"operations":%d,"seconds":%f,"cpuSeconds":%f%s}`, m.operations, elapsed.Seconds(), used.Seconds(), latencies)
}

// Of all threads of this process.
func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
