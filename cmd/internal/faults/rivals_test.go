package faults_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"crier.local/cmd/internal/faults"
)

// exitConfig is the exit code of a provider that cannot have its address.
const exitConfig = 78

// TestRivals starts several providers at once on one address, after the one that
// has it was killed and while it is: there is never more than one, and the others
// say why they end.
func TestRivals(t *testing.T) {
	const rounds, rivals = 6, 4
	overBoth(t, "several providers started on one address", faults.Setup{}, func(s *scene) {
		s.witness("r")
		a := s.actor()
		s.connect(a, "c", "room=r name=c")
		s.tell(a, "send %s 1000000 every=1ms", a.Label("c"))
		for i := range rounds {
			back := a.Watch(func(r faults.Record) bool { return r.Kind == "restarted" })
			holder := s.Provider()
			down := faults.Monotonic()
			holder.Kill()
			if i%2 == 0 {
				s.must(ended(holder.Reaped(s.ctx)))
			}
			s.contest(rivals, holder)
			s.recovery = append(s.recovery, since(down, s.wait(back)))
		}
		s.endOf(a, "c", "sent")
		s.n = rounds * rivals
	})
}

// ended drops the error of a process that was killed.
func ended(err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil
	}
	return err
}

// contest starts rivals at once, of which one must win, and has it adopted. If
// the former holder was still there, none may: then one is started when all have
// given up.
func (s *scene) contest(rivals int, holder *faults.Provider) {
	s.t.Helper()
	var all, winners []*faults.Provider
	for range rivals {
		p, err := s.Server().Launch(s.ServeArgs()...)
		s.must(err)
		all = append(all, p)
	}
	for _, p := range all {
		if err := p.Listening(s.ctx, 1); err == nil {
			winners = append(winners, p)
		} else {
			s.checkLoser(p)
		}
	}
	switch len(winners) {
	case 0:
		s.must(ended(holder.Reaped(s.ctx)))
		s.must(s.Start(s.ctx))
	case 1:
		s.Adopt(winners[0])
	default:
		for _, p := range winners {
			defer p.Kill()
		}
		s.t.Fatalf("%d providers listen at once", len(winners))
	}
}

// checkLoser checks what becomes of a provider whose address another has.
func (s *scene) checkLoser(p *faults.Provider) {
	s.t.Helper()
	exit, ok := errors.AsType[*exec.ExitError](p.Reaped(s.ctx))
	if !ok || exit.ExitCode() != exitConfig {
		s.t.Errorf("a provider whose address is taken ends with %v, want status %d", exit, exitConfig)
	}
	words := p.Words()
	if !strings.Contains(words, "listens there") && !strings.Contains(words, "in use") {
		s.t.Errorf("it says: %s", words)
	}
}
