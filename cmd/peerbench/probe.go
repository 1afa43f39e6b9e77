package main

import (
	"errors"
	"fmt"
	"time"
)

// measureRequests measures how long messages take that are answered, with as many
// receivers in another process as the cell has.
func measureRequests(st *stage, measured time.Duration) (s sample, err error) {
	defer func() { err = errors.Join(err, st.close()) }()
	a, err := st.open(max(1, st.c.receivers))
	if err != nil {
		return s, err
	}
	if st.c.receivers > 0 {
		receivers := a
		receivers.Count = st.c.receivers
		if _, err := st.enter("receivers", receivers); err != nil {
			return s, err
		}
	}
	a.Publisher = 0
	if _, err := st.enter("requester", a); err != nil {
		return s, err
	}
	p := st.players[len(st.players)-1]
	if err := p.tell(order{Do: doRequest, For: measured}); err != nil {
		return s, err
	}
	r, err := p.hear(joining + measured)
	s.Values, s.Latency = values{}, r.Latency
	s.Values.addLatency(r.Latency)
	return s, err
}

// memory returns what memory the server has when it has come to rest.
func (st *stage) memory() (float64, error) {
	if err := st.rest(st.c.settle); err != nil {
		return 0, err
	}
	n, err := residentBytes(st.server.pid())
	return float64(n), err
}

// measureMemory measures the server's memory for processes that have connected and
// done nothing else, and for further connections that each of them opens.
func measureMemory(st *stage) (v values, err error) {
	defer func() { err = errors.Join(err, st.close()) }()
	count := st.c.receivers
	a, err := st.open(count + 1)
	if err != nil {
		return nil, err
	}
	a.Count = 1
	if _, err := st.enter("first", a); err != nil { // what the server needs once
		return nil, err
	}
	before, err := st.memory()
	if err != nil {
		return nil, err
	}
	for i := range count {
		a.First = i + 1
		if _, err := st.enter(fmt.Sprintf("process %d", i), a); err != nil {
			return nil, err
		}
	}
	after, err := st.memory()
	if err != nil {
		return nil, err
	}
	v = values{perProcess: (after - before) / float64(count)}
	if st.sys.name() != us {
		return v, nil
	}
	for _, p := range st.players[1:] {
		if err := p.tell(order{Do: doMore, Connections: st.c.further}); err != nil {
			return nil, err
		}
		if _, err := p.hear(joining); err != nil {
			return nil, err
		}
	}
	further, err := st.memory()
	v[perConnection] = (further - after) / float64(count*st.c.further)
	return v, err
}

// measureAttached measures the server's memory for each attachment when there are a
// fifth, two fifths and all of the cell's, all of one process.
func measureAttached(st *stage) (v values, err error) {
	defer func() { err = errors.Join(err, st.close()) }()
	a, err := st.open(st.c.receivers + 1)
	if err != nil {
		return nil, err
	}
	a.Count = 1
	if _, err := st.enter("first", a); err != nil {
		return nil, err
	}
	before, err := st.memory()
	if err != nil {
		return nil, err
	}
	v = values{}
	for done, share := 0, 0; share < len(attachedShares); share++ {
		a.First, a.Count = done+1, st.c.receivers*attachedShares[share]/100-done
		if _, err := st.enter("attachments", a); err != nil {
			return nil, err
		}
		done += a.Count
		now, err := st.memory()
		if err != nil {
			return nil, err
		}
		v[attachedAt(attachedShares[share])] = (now - before) / float64(done)
	}
	return v, nil
}

// attachedShares are at how many per cent of the attachments memory is read.
var attachedShares = [...]int{20, 40, 100}

func attachedAt(share int) string { return fmt.Sprintf("bytes_per_attachment_at_%d_percent", share) }

// joiners is how many connects are under way at a time.
const joiners = 16

// measureConnects measures how many clients connect in a second.
func measureConnects(st *stage) (v values, err error) {
	defer func() { err = errors.Join(err, st.close()) }()
	a, err := st.open(st.c.receivers)
	if err != nil {
		return nil, err
	}
	a.Count, a.Joiners = st.c.receivers, joiners
	took, err := st.enter("clients", a)
	return values{perSecond: float64(st.c.receivers) / took.Seconds()}, err
}

// measureIdle measures what a server does that has connections and nothing to do.
func measureIdle(st *stage, measured time.Duration) (v values, err error) {
	defer func() { err = errors.Join(err, st.close()) }()
	a, err := st.open(st.c.receivers)
	if err != nil {
		return nil, err
	}
	a.Count = st.c.receivers
	if _, err := st.enter("connections", a); err != nil {
		return nil, err
	}
	if err := st.rest(st.c.settle); err != nil {
		return nil, err
	}
	read := func() (cpu time.Duration, woken int64, err error) {
		cpu, err = cpuTime(st.server.pid())
		woken, e := wakeUps(st.server.pid())
		return cpu, woken, errors.Join(err, e)
	}
	cpu, woken, err := read()
	if err != nil {
		return nil, err
	}
	if err := st.rest(measured); err != nil {
		return nil, err
	}
	cpuThen, wokenThen, err := read()
	return values{
		idleCPU:     100 * (cpuThen - cpu).Seconds() / measured.Seconds(),
		idleWakeUps: float64(wokenThen-woken) / measured.Seconds(),
	}, err
}
