package main

import "runtime"

// Group commit around a log for one writer: what arrives while one commit is under way becomes the next.
type grouped struct {
	requests chan request
}

type request struct {
	value []byte
	done  chan error
}

func newGrouped(to log) *grouped {
	g := &grouped{make(chan request, writers)}
	go g.commit(to)
	return g
}

func (g *grouped) append(value []byte) error {
	done := make(chan error, 1)
	g.requests <- request{value, done}
	return <-done
}

func (g *grouped) commit(to log) {
	for first := range g.requests {
		// The goroutines that the commit before has woken come along, instead of waiting for the next.
		runtime.Gosched()
		group, values := []request{first}, [][]byte{first.value}
		for len(g.requests) > 0 {
			next := <-g.requests
			group, values = append(group, next), append(values, next.value)
		}
		err := to.appendBatch(values)
		for _, each := range group {
			each.done <- err
		}
	}
}
