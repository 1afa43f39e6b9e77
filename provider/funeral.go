package provider

import (
	"time"

	"crier.local/api"
	"crier.local/api/wire"
)

// expel ends the process for a reason of ours: buries it, says farewell, and
// cuts the stream if the client does not end it. Safe on any goroutine that
// holds no lock.
func (proc *process) expel(reason api.Reason, why error) {
	proc.bury(reason)
	proc.out.finish(&wire.ProviderEntry{
		Kind: wire.Farewell, Failure: api.FailureOf(why), Reason: reason,
		Final: proc.peer.final && reason == api.ReasonGoingAway,
	})
	time.AfterFunc(linger, proc.peer.end)
}

// drainInput reads on, and ignores what comes, until the client has ended the
// stream or expel has cut it: closing it with input unread could drop the farewell.
func (proc *process) drainInput() error {
	var batch wire.Batch
	for {
		if err := proc.stream.Recv(&batch); err != nil {
			return err
		}
	}
}

// bury ends all sessions of the process, once: whoever comes second waits until
// it is done. From then on nothing of the process is in the way of anybody.
func (proc *process) bury(reason api.Reason) {
	proc.mu.Lock()
	first := !proc.buried
	proc.buried = true
	var sessions []*Session
	for _, s := range proc.sessions {
		sessions = append(sessions, s)
	}
	proc.mu.Unlock()
	if !first {
		<-proc.gone
		return
	}
	proc.endSessions(sessions, reason)
	close(proc.gone)
}

// endSessions closes sessions: first nothing can be born into them any more and
// their calls are canceled, then every resource is closed, then their services
// hear of it, once for all sessions of theirs.
func (proc *process) endSessions(sessions []*Session, reason api.Reason) {
	proc.mu.Lock()
	var calls []*Call
	var resources []*Resource
	ended := map[*service][]*Session{}
	for _, s := range sessions {
		if s.ending {
			continue
		}
		s.ending = true
		delete(proc.sessions, s.id)
		ended[s.service] = append(ended[s.service], s)
		for _, r := range s.resources {
			resources = append(resources, r)
		}
	}
	for c := range proc.calls {
		if c.Session.ending {
			calls = append(calls, c)
		}
	}
	proc.mu.Unlock()

	for _, c := range calls {
		c.abort(api.ErrClosed)
	}
	for _, r := range resources {
		r.end(reason, nil)
	}
	for svc, sessions := range ended {
		for _, s := range sessions {
			s.closings.Wait() // of resources that others close right now
		}
		if closer, ok := svc.handler.(SessionCloser); ok {
			_ = proc.p.guard("SessionsClosed", func() { closer.SessionsClosed(sessions, reason) })
		}
		for _, s := range sessions {
			proc.p.sessions.release(s.id)
			proc.p.sessionEnds()
		}
	}
}
