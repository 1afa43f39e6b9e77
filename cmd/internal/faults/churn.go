package faults

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"crier.local/client"
	"crier.local/client/notification"
)

// visitors is how many clients of a churn may be there at once: where the machine
// cannot keep up, fewer come.
const visitors = 64

// churn has clients come and go.
func (t *troupe) churn(o order) error {
	t.work.Go(func() {
		var visits sync.WaitGroup
		places := make(chan struct{}, visitors)
		next := time.Now()
		for i := range o.count {
			places <- struct{}{}
			visits.Go(func() {
				defer func() { <-places }()
				if err := t.visit(o, i); err != nil {
					t.out.record(Record{At: AtSaid, Conn: o.label, Error: err.Error()})
				}
			})
			next = next.Add(o.every)
			if !sleep(t.ctx, time.Until(next)) {
				break
			}
		}
		visits.Wait()
		t.out.record(Record{At: AtSaid, Conn: o.label, Reason: "churned", Count: uint64(o.count)})
	})
	return nil
}

// visit is one client's whole life.
func (t *troupe) visit(o order, i int) error {
	c, err := notification.Dial(t.ctx, t.options)
	if err != nil {
		return err
	}
	defer c.Close()
	connect := o.connect
	if connect.Name != "" {
		connect.Name = fmt.Sprintf("%s.%d", connect.Name, i)
	}
	s, err := t.sit(fmt.Sprintf("%s.%d", o.label, i), c, connect)
	if err != nil {
		return err
	}
	s.leave()
	return nil
}

// spawn starts a provider that this process owns.
func (t *troupe) spawn(order) error {
	said, err := t.spawnProvider()
	if err != nil {
		said.Error = err.Error()
	}
	t.out.record(said)
	return nil
}

func (t *troupe) spawnProvider() (Record, error) {
	said := Record{At: AtSaid, Reason: "spawned"}
	self, err := os.Executable()
	if err != nil {
		return said, err
	}
	cmd := exec.Command(self, "plugin", "--log-level", "trace")
	if t.spawned, err = client.Spawn(t.ctx, cmd, t.options.Logger); err != nil {
		return said, err
	}
	said.Name, said.Count = t.spawned.Address().String(), uint64(cmd.Process.Pid)
	return said, nil
}
