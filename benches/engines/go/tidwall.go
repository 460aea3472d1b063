package main

import "github.com/tidwall/wal"

// A plain log: files grow, one fsync for each call. Records are read without being copied.
type tidwallLog struct {
	wal  *wal.Log
	next uint64
}

func openTidwall(dir, _ string) (log, error) {
	options := *wal.DefaultOptions
	options.NoCopy = true
	opened, err := wal.Open(dir, &options)
	if err != nil {
		return nil, err
	}
	last, err := opened.LastIndex()
	return &tidwallLog{opened, last + 1}, err
}

func (l *tidwallLog) append(value []byte) error {
	l.next++
	return l.wal.Write(l.next-1, value)
}

func (l *tidwallLog) appendBatch(values [][]byte) error {
	all := new(wal.Batch)
	for _, value := range values {
		all.Write(l.next, value)
		l.next++
	}
	return l.wal.WriteBatch(all)
}

func (l *tidwallLog) records() (uint64, error) {
	return l.wal.LastIndex()
}

func (l *tidwallLog) replay() (records, bytes uint64, err error) {
	for index := uint64(1); index < l.next; index++ {
		value, err := l.wal.Read(index)
		if err != nil {
			return 0, 0, err
		}
		records++
		bytes += uint64(len(value))
	}
	return records, bytes, nil
}
