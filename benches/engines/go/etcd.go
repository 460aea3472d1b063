package main

import (
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
)

// The log of etcd: files allocated ahead, one fdatasync for each call. It has to be read before it can be appended to.
type etcdLog struct {
	wal     *wal.WAL
	entries []raftpb.Entry
	next    uint64
}

func openEtcd(dir, row string) (log, error) {
	if !wal.Exist(dir) {
		created, err := wal.Create(nil, dir, nil)
		return &etcdLog{wal: created, next: 1}, err
	}
	open := wal.Open
	if row == "replay" {
		open = wal.OpenForRead
	}
	opened, err := open(nil, dir, walpb.Snapshot{})
	if err != nil {
		return nil, err
	}
	_, _, entries, err := opened.ReadAll()
	return &etcdLog{opened, entries, uint64(len(entries)) + 1}, err
}

func (l *etcdLog) append(value []byte) error {
	return l.appendBatch([][]byte{value})
}

func (l *etcdLog) appendBatch(values [][]byte) error {
	entries := make([]raftpb.Entry, len(values))
	for index, value := range values {
		entries[index] = raftpb.Entry{Term: 1, Index: l.next, Data: value}
		l.next++
	}
	return l.wal.Save(raftpb.HardState{}, entries)
}

func (l *etcdLog) records() (uint64, error) {
	return uint64(len(l.entries)), nil
}

func (l *etcdLog) replay() (records, bytes uint64, err error) {
	for _, entry := range l.entries {
		bytes += uint64(len(entry.Data))
	}
	return uint64(len(l.entries)), bytes, nil
}
