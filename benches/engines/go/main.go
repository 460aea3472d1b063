// One contestant, one row, one process: prints what it measured as a line of JSON. The same rows as ../src/main.rs.
//
// Arguments: CONTESTANT ROW DIR RECORDS SECONDS.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	valueBytes = 100
	batch      = 1000
	writers    = 8
	// Not measured: the first commits make files, and write what was prepared.
	warmUp = 64
)

// A log in which a record is durable once the call that appended it has returned. None of these groups the appends of several goroutines
// by itself, so the bench does.
type log interface {
	append(value []byte) error
	// All of them durable together.
	appendBatch(values [][]byte) error
	// The number of records it has, from what opening knows.
	records() (uint64, error)
	// Reads all records; returns how many there were, and the bytes of their values.
	replay() (records, bytes uint64, err error)
}

// Opens, creates or recovers a log.
var contestants = map[string]func(dir, row string) (log, error){"etcd": openEtcd, "raft-wal": openRaftWal, "tidwall": openTidwall}

func main() {
	line, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(line)
}

type job struct {
	row     string
	records uint64
	limit   time.Duration
	open    func() (log, error)
}

func run(arguments []string) (string, error) {
	if len(arguments) != 5 {
		return "", fmt.Errorf("CONTESTANT ROW DIR RECORDS SECONDS")
	}
	contestant, row, dir := arguments[0], arguments[1], filepath.Join(arguments[2], "log")
	open, known := contestants[contestant]
	if !known {
		return "", fmt.Errorf("no contestant is called %s", contestant)
	}
	records, err := strconv.ParseUint(arguments[3], 10, 64)
	if err != nil {
		return "", err
	}
	seconds, err := strconv.ParseFloat(arguments[4], 64)
	if err != nil {
		return "", err
	}
	limit := time.Duration(seconds * float64(time.Second))
	j := job{row, records, limit, func() (log, error) { return open(dir, row) }}
	rows := map[string]func() (string, error){
		"one": j.one, "eight": j.eight, "batches": j.batches, "fill": j.fill, "open": j.opening, "replay": j.replaying,
	}
	measure, known := rows[row]
	if !known {
		return "", fmt.Errorf("no row is called %s", row)
	}
	return measure()
}

func (j job) warm() (log, error) {
	opened, err := j.open()
	if err != nil {
		return nil, err
	}
	value := value()
	for range warmUp {
		if err := opened.append(value); err != nil {
			return nil, err
		}
	}
	return opened, nil
}

func (j job) one() (string, error) {
	opened, err := j.warm()
	if err != nil {
		return "", err
	}
	value, m := value(), startMeter(j.limit)
	for m.operations < j.records && !m.isOver() {
		if err := m.time(1, func() error { return opened.append(value) }); err != nil {
			return "", err
		}
	}
	return m.stop(), nil
}

// Eight goroutines, each of which waits for its own records.
func (j job) eight() (string, error) {
	opened, err := j.warm()
	if err != nil {
		return "", err
	}
	value, grouped, m := value(), newGrouped(opened), startMeter(j.limit)
	var wait sync.WaitGroup
	meters, errors := [writers]*meter{}, [writers]error{}
	for index := range writers {
		wait.Add(1)
		go func() {
			defer wait.Done()
			own := startMeter(j.limit)
			for own.operations < j.records/writers && !own.isOver() && errors[index] == nil {
				errors[index] = own.time(1, func() error { return grouped.append(value) })
			}
			meters[index] = own
		}()
	}
	wait.Wait()
	for index, own := range meters {
		if errors[index] != nil {
			return "", errors[index]
		}
		m.add(own)
	}
	return m.stop(), nil
}

func (j job) batches() (string, error) {
	opened, err := j.warm()
	if err != nil {
		return "", err
	}
	values, m := values(), startMeter(j.limit)
	for m.operations < j.records && !m.isOver() {
		if err := m.time(batch, func() error { return opened.appendBatch(values) }); err != nil {
			return "", err
		}
	}
	return m.stop(), nil
}

func (j job) fill() (string, error) {
	opened, err := j.open()
	if err != nil {
		return "", err
	}
	values := values()
	for range j.records / batch {
		if err := opened.appendBatch(values); err != nil {
			return "", err
		}
	}
	return "", syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// Everything that was durable before the kill is there.
func (j job) opening() (string, error) {
	m, begun := startMeter(j.limit), time.Now()
	opened, err := j.open()
	if err != nil {
		return "", err
	}
	took := time.Since(begun)
	records, err := opened.records()
	if err != nil {
		return "", err
	}
	if records != j.records {
		return "", fmt.Errorf("%d records of %d are there", records, j.records)
	}
	m.operations = 1
	return m.stopAfter(took), nil
}

func (j job) replaying() (string, error) {
	m := startMeter(j.limit)
	opened, err := j.open()
	if err != nil {
		return "", err
	}
	records, bytes, err := opened.replay()
	if err != nil {
		return "", err
	}
	if records != j.records || bytes != records*valueBytes {
		return "", fmt.Errorf("replayed %d records, %d bytes", records, bytes)
	}
	m.operations = records
	return m.stop(), nil
}

// Not a constant byte, so that a log that compresses has something to do.
func value() []byte {
	state, bytes := uint32(0x2545f491), make([]byte, valueBytes)
	for index := range bytes {
		state = state*1664525 + 1013904223
		bytes[index] = byte(state >> 24)
	}
	return bytes
}

func values() [][]byte {
	all := make([][]byte, batch)
	for index := range all {
		all[index] = value()
	}
	return all
}
