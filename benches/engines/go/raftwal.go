package main

import (
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// The log of HashiCorp's Raft: segments allocated ahead, one fsync for each call.
type raftWal struct {
	wal  *wal.WAL
	next uint64
}

func openRaftWal(dir, _ string) (log, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	opened, err := wal.Open(dir, wal.WithLogger(hclog.NewNullLogger()))
	if err != nil {
		return nil, err
	}
	last, err := opened.LastIndex()
	return &raftWal{opened, last + 1}, err
}

func (l *raftWal) append(value []byte) error {
	return l.appendBatch([][]byte{value})
}

func (l *raftWal) appendBatch(values [][]byte) error {
	logs := make([]*raft.Log, len(values))
	for index, value := range values {
		logs[index] = &raft.Log{Term: 1, Index: l.next, Data: value}
		l.next++
	}
	return l.wal.StoreLogs(logs)
}

func (l *raftWal) records() (uint64, error) {
	return l.wal.LastIndex()
}

func (l *raftWal) replay() (records, bytes uint64, err error) {
	var entry raft.Log
	for index := uint64(1); index < l.next; index++ {
		if err := l.wal.GetLog(index, &entry); err != nil {
			return 0, 0, err
		}
		records++
		bytes += uint64(len(entry.Data))
	}
	return records, bytes, nil
}
